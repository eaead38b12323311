package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// listen accepts connections and greets.
func listen(port string) error {
	l, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "hello")
		}()
	}
}

// dial connects, and fails when there is no connection after a second and a half.
func dial(address string) error {
	conn, err := net.DialTimeout("tcp4", address, 1500*time.Millisecond)
	if err != nil {
		return err
	}
	return conn.Close()
}

// roundTrips connects some times and prints how many milliseconds each took.
func roundTrips(address, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	for range n {
		begun := time.Now()
		conn, err := net.DialTimeout("tcp4", address, 10*time.Second)
		if err != nil {
			return err
		}
		fmt.Println(time.Since(begun).Milliseconds())
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

// hear notes each datagram that comes as a line of a file.
func hear(port, path string) error {
	conn, err := net.ListenPacket("udp4", ":"+port)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f, "%s\n", buffer[:n]); err != nil {
			return err
		}
	}
}

// say sends datagrams of one text, a thousand in about a second.
func say(address, text, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp4", address)
	if err != nil {
		return err
	}
	for range n {
		// That nobody listens is not this end's business.
		_, _ = io.WriteString(conn, text)
		time.Sleep(time.Millisecond)
	}
	return conn.Close()
}
