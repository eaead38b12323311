// Command probe is the program in the pods of the local cluster's own test: a web server, a webhook, and a client.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) == 2 && args[0] == "fill":
		return fill(args[1])
	case len(args) == 3 && args[0] == "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	case len(args) == 2 && args[0] == "listen":
		return listen(args[1])
	case len(args) == 2 && args[0] == "dial":
		return dial(args[1])
	case len(args) == 3 && args[0] == "rtt":
		return roundTrips(args[1], args[2])
	case len(args) == 3 && args[0] == "hear":
		return hear(args[1], args[2])
	case len(args) == 4 && args[0] == "say":
		return say(args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "read":
		data, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(data)
		return err
	}
	return errors.New("usage: probe serve HOST | get URL | fill FILE | write FILE TEXT | read FILE | listen PORT | dial ADDRESS |" +
		" rtt ADDRESS TIMES | hear PORT FILE | say ADDRESS TEXT TIMES")
}

// serve answers with the pod's name on port 8080, gives the webhook's certificate at /ca, and denies everything on 8443.
func serve(host string) error {
	cert, authority, err := selfSigned(host)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello from ", name) })
	http.HandleFunc("/ca", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(authority) })
	deny := &http.Server{
		Addr: ":8443", Handler: http.HandlerFunc(denyAll), ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
	}
	failed := make(chan error, 2)
	go func() { failed <- deny.ListenAndServeTLS("", "") }()
	go func() { failed <- http.ListenAndServe(":8080", nil) }()
	fmt.Println("probe is serving")
	return <-failed
}

func denyAll(w http.ResponseWriter, r *http.Request) {
	var review struct {
		APIVersion, Kind string
		Request          struct{ UID string }
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": review.APIVersion, "kind": review.Kind,
		"response": map[string]any{"uid": review.Request.UID, "allowed": false, "status": map[string]any{"message": "the probe says no"}},
	})
}

func selfSigned(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, authority, nil
}

func get(url string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// fill writes until the disk is full and prints how many bytes fitted.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	block, total := bytes.Repeat([]byte{1}, 1<<20), 0
	for range 4096 {
		n, err := f.Write(block)
		total += n
		if err != nil {
			fmt.Printf("%d bytes, then: %v\n", total, err)
			return nil
		}
	}
	return fmt.Errorf("%d bytes written, and the disk is not full", total)
}
