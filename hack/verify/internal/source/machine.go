package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// shared are folders that exist on every machine: a checkout directly below one does not make its name this machine's.
var shared = []string{"/", "/tmp", "/var/tmp", "/home", "/srv", "/opt", "/mnt", "/usr/src"}

// url finds the hosts in apt's, npm's and Go's settings.
var url = regexp.MustCompile(`[a-z+]+://(?:[^/@\s]*@)?([A-Za-z0-9.-]+)`)

// Machine collects the strings that belong to this machine: the hosts it takes packages from, the folder of the
// checkout, and the home folder. They come from its settings, so that no name of one stands in this repository.
func Machine(root string) ([]string, error) {
	top, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("find the checkout: %w", err)
	}
	settings, err := sources()
	if err != nil {
		return nil, err
	}
	own := hosts(settings)
	for _, folder := range []string{top, filepath.Dir(top), os.Getenv("HOME")} {
		if folder != "" && !slices.Contains(shared, folder) {
			own = append(own, strings.TrimSuffix(folder, "/")+"/")
		}
	}
	slices.Sort(own)
	return slices.Compact(own), nil
}

// sources returns the settings that say where packages come from, as text.
func sources() (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	goProxy, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its proxy: %w", err)
	}
	var text strings.Builder
	text.Write(goProxy)
	lists, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", fmt.Errorf("list apt's sources: %w", err)
	}
	for _, name := range append(lists, "/etc/apt/sources.list") {
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read apt's sources: %w", err)
		}
		text.WriteString("\n" + string(data))
	}
	if npm, err := exec.LookPath("npm"); err == nil {
		registry, err := exec.CommandContext(ctx, npm, "config", "get", "registry").Output()
		if err != nil {
			return "", fmt.Errorf("ask npm for its registry: %w", err)
		}
		text.WriteString("\n" + string(registry))
	}
	return text.String(), nil
}

// hosts returns the host names in text; addresses of the machine itself say nothing and are left out.
func hosts(text string) []string {
	var found []string
	for _, match := range url.FindAllStringSubmatch(text, -1) {
		host := strings.ToLower(match[1])
		if ip := net.ParseIP(host); !strings.Contains(host, ".") || ip != nil && ip.IsLoopback() {
			continue
		}
		found = append(found, host)
	}
	return found
}
