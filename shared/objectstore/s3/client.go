package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// limits bound what one call may take.
type limits struct {
	// part is the length of a part in bytes, and parts how many an object may have.
	part, parts int
	// connect is how long it may take to reach the server and to agree on keys.
	connect time.Duration
	// silence is how long a connection may stand still while an answer is awaited, or while the server takes no more.
	silence time.Duration
	// assembly is silence while the server makes an object of its parts.
	assembly time.Duration
	// attempts is how often a request is made at the most, and pause the longest pause before one.
	attempts int
	pause    time.Duration
	// farewell is what clearing up after a failure may take.
	farewell time.Duration
}

// usual are the limits outside of tests. The package's comment repeats them.
var usual = limits{
	part: 64 << 20, parts: 10_000,
	connect: 10 * time.Second, silence: time.Minute, assembly: 5 * time.Minute,
	attempts: 5, pause: 20 * time.Second, farewell: 10 * time.Second,
}

// client returns the client of the bucket's service.
func (c Config) client(l limits, authorities *x509.CertPool) *s3.Client {
	options := s3.Options{
		Region:       c.Region,
		UsePathStyle: c.PathStyle,
		Credentials:  aws.CredentialsProviderFunc(c.retrieve),
		HTTPClient:   transport(l.connect, l.silence, authorities),
		// The checksum of each body is part of its signature, and every service verifies that. Checksums behind a body, which
		// would be the default, are not understood everywhere.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = l.attempts, l.pause
			// Otherwise what failed in the past would cost later requests their attempts.
			o.RateLimiter = ratelimit.None
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(passing)}, o.Retryables...)
		}),
	}
	if options.Region == "" {
		options.Region = defaultRegion
	}
	if c.Endpoint != "" {
		options.BaseEndpoint = &c.Endpoint
	}
	return s3.New(options)
}

// passing says of an error what the client does not know by itself: whether it may pass.
func passing(err error) aws.Ternary {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return aws.FalseTernary
	}
	if _, garbled := errors.AsType[*smithy.DeserializationError](err); garbled {
		return aws.TrueTernary
	}
	switch code(err) {
	case "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "TooManyRequests":
		return aws.TrueTernary // The body was damaged on its way, or there is too much to do.
	}
	return aws.UnknownTernary
}

// transport returns an HTTP client that does not wait for ever.
func transport(connect, silence time.Duration, authorities *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: connect}
	return &http.Client{
		// A signature is good for one address only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &watched{Conn: conn, silence: silence}, nil
			},
			TLSClientConfig:       &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   connect,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       silence / 2,
			MaxIdleConnsPerHost:   4,
			DisableCompression:    true,
		},
	}
}

// watched is a connection that fails when it has stood still for too long.
type watched struct {
	net.Conn
	silence time.Duration
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

// Write implements net.Conn. The answer is awaited while the request is written: as long as that goes on, nothing stands still.
func (w *watched) Write(p []byte) (int, error) {
	if err := w.SetDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
