package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// defaultRegion is signed with where a service has no regions.
const defaultRegion = "us-east-1"

// Config says where a store is and how it is reached.
type Config struct {
	// Endpoint is the URL of the service, of a scheme and a host alone. Empty means AWS, in the region. A plain http:// shows what is
	// stored, though no secret, to everybody on the way.
	Endpoint string
	// Bucket is the name of the bucket, which must exist.
	Bucket string
	// Region is the region of the bucket. It must be given for AWS; empty means us-east-1, which services without regions expect.
	Region string
	// Prefix is the part of the bucket that the store keeps to: nothing but objects below it is read, listed, written or deleted. It
	// is formed like the name of an object, without a slash at its end. Empty means the whole bucket.
	Prefix string
	// PathStyle puts the bucket's name into the path and not in front of the host's name, which most private services need.
	PathStyle bool
	// CA are the authorities (PEM) of which one must have signed the service's certificate, in place of those of the system.
	CA []byte
	// Credentials is asked before each request, so that a key that is replaced counts at once. CredentialsIn reads them from files.
	Credentials func(context.Context) (Credentials, error)
}

// Credentials are what requests are signed with.
type Credentials struct {
	// KeyID is sent with each request, Secret never. Both are needed.
	KeyID, Secret string
	// Session is the token that temporary credentials have, else empty.
	Session string
}

// String keeps the credentials out of what is printed.
func (Credentials) String() string { return "(credentials)" }

// GoString keeps the credentials out of what is printed.
func (Credentials) GoString() string { return "(credentials)" }

// The files of a folder that CredentialsIn reads.
const (
	// KeyIDFile holds the ID of the key.
	KeyIDFile = "access-key-id"
	// SecretFile holds its secret.
	SecretFile = "secret-access-key"
	// SessionFile holds the token of temporary credentials. It may be missing.
	SessionFile = "session-token"
)

// CredentialsIn reads credentials from the files of a folder each time that it is asked: of a Secret that is mounted, which the kubelet
// renews in place. White space around a value does not count.
func CredentialsIn(folder string) func(context.Context) (Credentials, error) {
	return func(context.Context) (Credentials, error) {
		// The kubelet replaces all files at once by turning this link. Resolved once, it never gives half of a pair.
		version, err := filepath.EvalSymlinks(filepath.Join(folder, "..data"))
		if errors.Is(err, fs.ErrNotExist) {
			version, err = folder, nil
		}
		if err != nil {
			return Credentials{}, fmt.Errorf("find the credentials: %w", err)
		}
		var c Credentials
		for name, into := range map[string]*string{KeyIDFile: &c.KeyID, SecretFile: &c.Secret, SessionFile: &c.Session} {
			raw, err := os.ReadFile(filepath.Join(version, name))
			if err != nil && (name != SessionFile || !errors.Is(err, fs.ErrNotExist)) {
				return Credentials{}, fmt.Errorf("read the credentials: %w", err)
			}
			*into = strings.TrimSpace(string(raw))
		}
		return c, nil
	}
}

// retrieve asks for credentials in the form in which the client takes them.
func (c Config) retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := c.Credentials(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	if got.KeyID == "" || got.Secret == "" {
		return aws.Credentials{}, errors.New("the credentials are incomplete: the ID of the key or its secret is empty")
	}
	return aws.Credentials{AccessKeyID: got.KeyID, SecretAccessKey: got.Secret, SessionToken: got.Session}, nil
}

// check returns an error that names the field that cannot be right.
func (c Config) check() error {
	if c.Endpoint == "" && c.Region == "" {
		return errors.New("region: the bucket's region must be given where no endpoint is")
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			// The text may hold a password, and is not repeated.
			return errors.New("endpoint: it must be like https://host:port, without path or user")
		}
	}
	if c.Bucket == "" || strings.ContainsAny(c.Bucket, "/: ") {
		return fmt.Errorf("bucket: %q is not the name of a bucket", c.Bucket)
	}
	if c.Prefix != "" {
		if err := objectstore.ValidKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix: it must be formed like the name of an object: %w", err)
		}
	}
	if c.Credentials == nil {
		return errors.New("credentials: there is nothing to ask for them")
	}
	return nil
}

// authorities returns whom to trust; nil are those of the system.
func (c Config) authorities() (*x509.CertPool, error) {
	if len(c.CA) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("ca: there is no certificate (PEM) in it")
	}
	return pool, nil
}
