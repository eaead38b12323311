// Package residue looks for what a cluster that was taken down may have left on the machine.
package residue

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/loop"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// Find returns what is left of a cluster, one line for each thing: processes in its network namespaces or with files of
// its state folder as program or root, mounts and loop devices of its state folder, its control groups, and links and
// routes of the machine that lead into its networks and were not there before.
func Find(dir store.Dir, rec store.Record) ([]string, error) {
	var found []string
	for _, look := range []func(store.Dir, store.Record) ([]string, error){processes, mounts, loops, cgroups, routes} {
		lines, err := look(dir, rec)
		if err != nil {
			return nil, err
		}
		found = append(found, lines...)
	}
	sort.Strings(found)
	return found, nil
}

func processes(dir store.Dir, rec store.Record) ([]string, error) {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	namespaces := map[string]bool{}
	for _, ns := range rec.Namespaces {
		namespaces[ns] = true
	}
	var found []string
	for _, p := range entries {
		// A process that ends while it is looked at is not left.
		ns, err := os.Readlink(p + "/ns/net")
		if err == nil && namespaces[ns] {
			found = append(found, "process "+filepath.Base(p)+" in network namespace "+ns)
			continue
		}
		args, err := os.ReadFile(p + "/cmdline")
		if err == nil && strings.Contains(string(args), dir.Path()+"/") {
			found = append(found, "process "+filepath.Base(p)+" with a file of the state folder")
		}
	}
	return found, nil
}

func mounts(dir store.Dir, _ store.Record) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir.Path()+"/") {
			found = append(found, "mount "+fields[4])
		}
	}
	return found, nil
}

func loops(dir store.Dir, _ store.Record) ([]string, error) {
	images, err := filepath.Glob(dir.VolumeImages())
	if err != nil {
		return nil, fmt.Errorf("list volume images: %w", err)
	}
	devices, err := loop.Devices(images)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range devices {
		found = append(found, "loop device "+d)
	}
	return found, nil
}

func cgroups(_ store.Dir, rec store.Record) ([]string, error) {
	var found []string
	for _, dir := range rec.Cgroups {
		_, err := os.Stat(dir)
		if err == nil {
			found = append(found, "control group "+dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for control group: %w", err)
		}
	}
	return found, nil
}

func routes(_ store.Dir, rec store.Record) ([]string, error) {
	before := map[string]bool{}
	for _, r := range rec.HostRoutes {
		before[r] = true
	}
	now, err := HostRoutes()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, r := range now {
		if !before[r] {
			found = append(found, r)
		}
	}
	return found, nil
}

// HostRoutes returns the machine's routes into networks that a cluster uses, and its links with names that a cluster's
// have. A cluster makes none outside its own namespaces.
func HostRoutes() ([]string, error) {
	list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var lines []string
	for _, r := range list {
		if r.Dst != nil && inCluster(r.Dst) {
			lines = append(lines, fmt.Sprintf("route to %s", r.Dst))
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if name == "lan0" || name == "cni0" || (l.Type() == "veth" && strings.HasPrefix(name, "node")) {
			lines = append(lines, "link "+name)
		}
	}
	return lines, nil
}

func inCluster(n *net.IPNet) bool {
	if ones, _ := n.Mask.Size(); ones == 0 {
		return false
	}
	for _, cidr := range []string{spec.LANCIDR, spec.PodCIDR, spec.ServiceCIDR} {
		_, own, err := net.ParseCIDR(cidr)
		if err == nil && (own.Contains(n.IP) || n.Contains(own.IP)) {
			return true
		}
	}
	return false
}
