package mysqld

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/go-sql-driver/mysql"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// History is what a source holds, and what it can still give.
type History struct {
	// ServerUUID is which server answered.
	ServerUUID string
	// Executed is all that it has committed, Purged the part that is in none of its binary logs any more.
	Executed, Purged gtid.Set
}

// Ask asks a source for its history. It is the only question that an agent has for another member's server, and goes the way that the member's
// replicas and clones go: by the member's account, and only to a server that the source's authority has signed for.
func (s Source) Ask(ctx context.Context) (History, error) {
	secure, err := s.tls()
	if err != nil {
		return History{}, err
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	cfg.User, cfg.Passwd, cfg.TLS = s.User, s.Password, secure
	cfg.AllowNativePasswords = false
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = stop, stop, stop
	cfg.Logger = quiet{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return History{}, fmt.Errorf("prepare the connection to %s: %w", cfg.Addr, err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 2*stop)
	defer cancel()
	var out History
	var executed, purged string
	err = db.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid, @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged").Scan(&out.ServerUUID, &executed, &purged)
	if err != nil {
		return History{}, fmt.Errorf("ask %s for its history: %w", cfg.Addr, err)
	}
	var wrong [2]error
	out.Executed, wrong[0] = gtid.Parse(executed)
	out.Purged, wrong[1] = gtid.Parse(purged)
	if err := errors.Join(wrong[:]...); err != nil {
		return History{}, fmt.Errorf("read the history of %s: %w", cfg.Addr, err)
	}
	return out, nil
}

// tls is how a source is known. Its certificate names no host, so that the authority is all there is to check, as for replicas.
func (s Source) tls() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // See VerifyConnection.
	if s.CAFile == "" {
		return out, nil
	}
	raw, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the source's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, errors.New("the source's authority is no certificate")
	}
	out.VerifyConnection = func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
	return out, nil
}
