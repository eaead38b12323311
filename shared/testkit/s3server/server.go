// Package s3server runs a real S3 server for tests (versitygw on a folder), on loopback, with keys and buckets of its own. It needs
// KAPOK_S3_SERVER, the program; `make test` sets it.
package s3server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kapok-operators/kapok/shared/pki"
)

// Region is the one that the server is in.
const Region = "us-east-1"

const (
	// program names the variable with the path of the server's program.
	program = "KAPOK_S3_SERVER"
	// health is where it says that it is up.
	health = "/health"
	// patience is how long the server may take to start, and to stop.
	patience = time.Minute
)

// Key is a pair that a client signs with.
type Key struct {
	// ID is sent with each request, Secret never.
	ID, Secret string
}

// newKey makes a pair that nobody has.
func newKey() Key {
	return Key{ID: rand.Text(), Secret: rand.Text() + rand.Text()}
}

// Server is a server that runs until the test ends.
type Server struct {
	// Endpoint is its URL.
	Endpoint string
	// CA is the authority of its certificate (PEM), if it speaks TLS.
	CA []byte
	// Root is the key that may do everything.
	Root Key

	// iam is the folder of the accounts.
	iam   string
	users map[string]user
}

// user is an account in the form in which the server reads it.
type user struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
	Role   string `json:"role"`
}

// Start starts a server that speaks HTTP.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return start(tb, "http", nil)
}

// StartTLS starts a server that speaks HTTPS with a certificate of an authority of its own.
func StartTLS(tb testing.TB) *Server {
	tb.Helper()
	now := pki.Moment{Wall: time.Now()}
	signer, err := pki.NewSigner(now, pki.SignerOptions{
		Group: "test", Replica: "s3", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Life: time.Hour,
	})
	if err != nil {
		tb.Fatal(err)
	}
	leaf, _, err := signer.Issue(now, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	folder := tb.TempDir()
	certFile, keyFile := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	write(tb, certFile, encode("CERTIFICATE", leaf.Certificate[0]))
	write(tb, keyFile, encode("PRIVATE KEY", key))
	return start(tb, "https", encode("CERTIFICATE", signer.Certificate.Raw), "VGW_CERT="+certFile, "VGW_KEY="+keyFile)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func write(tb testing.TB, path string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func start(tb testing.TB, scheme string, ca []byte, env ...string) *Server {
	tb.Helper()
	path := os.Getenv(program)
	if path == "" {
		tb.Fatalf("%s does not name an S3 server to run; `make test` sets it", program)
	}
	address := freeAddress(tb)
	s := &Server{Endpoint: scheme + "://" + address, CA: ca, Root: newKey(), iam: tb.TempDir(), users: map[string]user{}}
	s.store(tb)

	output, err := os.Create(filepath.Join(tb.TempDir(), "output"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closed(tb, output) })
	cmd := exec.Command(path, "posix", tb.TempDir())
	// The keys are in the environment, where other users of the machine do not see them.
	cmd.Env = append(env,
		"VGW_PORT="+address, "VGW_REGION="+Region, "VGW_HEALTH="+health,
		"VGW_IAM_DIR="+s.iam, "VGW_IAM_CACHE_DISABLE=true", "VGW_META_SIDECAR="+tb.TempDir(),
		"ROOT_ACCESS_KEY_ID="+s.Root.ID, "ROOT_SECRET_ACCESS_KEY="+s.Root.Secret)
	cmd.Stdout, cmd.Stderr = output, output
	// A test that is killed takes its server along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start the S3 server: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tb.Cleanup(func() { stop(tb, cmd.Process, ended) })
	if err := s.await(tb.Context(), ended); err != nil {
		said, _ := os.ReadFile(output.Name())
		tb.Fatalf("the S3 server does not answer: %v\n%s", err, said)
	}
	return s
}

// await returns when the server answers.
func (s *Server) await(ctx context.Context, ended chan error) error {
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-ended:
			ended <- err
			return false, fmt.Errorf("it has ended: %w", err)
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+health, nil)
		if err != nil {
			return false, err
		}
		answer, err := s.http().Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // It is not ready.
		}
		return answer.StatusCode == http.StatusOK, answer.Body.Close()
	})
}

// stop ends the server, with force if it does not end by itself.
func stop(tb testing.TB, process *os.Process, ended chan error) {
	tb.Helper()
	timer := time.AfterFunc(patience, func() {
		tb.Error("the S3 server did not stop")
		// If it has ended meanwhile there is nothing to kill.
		_ = process.Kill()
	})
	defer timer.Stop()
	if err := process.Signal(syscall.SIGTERM); err != nil {
		tb.Errorf("stop the S3 server, which must have ended before: %v", err)
	}
	if err := <-ended; err != nil {
		tb.Errorf("the S3 server: %v", err)
	}
}

// freeAddress returns an address on loopback that nobody listens on.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	closed(tb, listener)
	return listener.Addr().String()
}

func closed(tb testing.TB, c io.Closer) {
	tb.Helper()
	if err := c.Close(); err != nil {
		tb.Error(err)
	}
}

// http returns a client that trusts the server.
func (s *Server) http() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
}

// Client returns a client that may do everything and talks to the server itself, whatever a test puts in between.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: Region, UsePathStyle: true, HTTPClient: s.http(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.Root.ID, SecretAccessKey: s.Root.Secret}, nil
		}),
	})
}

// Bucket makes an empty bucket.
func (s *Server) Bucket(tb testing.TB) string {
	tb.Helper()
	name := "b-" + strings.ToLower(rand.Text())
	if _, err := s.Client().CreateBucket(tb.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		tb.Fatalf("make a bucket: %v", err)
	}
	return name
}

// User makes an account that may do nothing.
func (s *Server) User(tb testing.TB) Key {
	tb.Helper()
	key := newKey()
	s.users[key.ID] = user{Access: key.ID, Secret: key.Secret, Role: "user"}
	s.store(tb)
	return key
}

// Revoke makes an account's key worthless.
func (s *Server) Revoke(tb testing.TB, key Key) {
	tb.Helper()
	delete(s.users, key.ID)
	s.store(tb)
}

// Policy gives a bucket a policy.
func (s *Server) Policy(tb testing.TB, bucket, policy string) {
	tb.Helper()
	if _, err := s.Client().PutBucketPolicy(tb.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		tb.Fatalf("give the bucket a policy: %v", err)
	}
}

// store writes the accounts where the server looks at each request.
func (s *Server) store(tb testing.TB) {
	tb.Helper()
	raw, err := json.Marshal(map[string]any{"accessAccounts": s.users})
	if err != nil {
		tb.Fatal(err)
	}
	next := filepath.Join(s.iam, "next")
	write(tb, next, raw)
	if err := os.Rename(next, filepath.Join(s.iam, "users.json")); err != nil {
		tb.Fatal(err)
	}
}
