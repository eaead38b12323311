// Command coredns is CoreDNS with only the plugins that a cluster without a way out needs: names of Services and pods,
// and a plain "no such name" for everything else. The full CoreDNS carries the clients of several clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which plugins see a query, which is not the order of the Corefile.
	dnsserver.Directives = []string{
		"ready", "health", "errors", "log", "cache", "loadbalance", "kubernetes", "template",
	}
	coremain.Run()
}
