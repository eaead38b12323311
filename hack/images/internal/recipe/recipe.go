// Package recipe says what goes into each operand image, as plain values. Whatever changes an image's content is part of
// its recipe, because the recipe's hash is the key under which the result is cached.
package recipe

import (
	"fmt"
	"slices"

	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

// Layer describes one file-system layer made from Debian packages.
type Layer struct {
	// Name is used in messages and file names.
	Name string `json:"name"`
	// Suite is the Debian suite that the packages come from.
	Suite string `json:"suite"`
	// Packages are asked for by name; what they depend on comes along.
	Packages []string `json:"packages"`
	// Without names packages of the closure that are left out, because nothing that stays needs them.
	Without []string `json:"without,omitempty"`
	// Filter drops files.
	Filter tree.Filter `json:"filter"`
	// Dirs are created after the packages were unpacked.
	Dirs []Dir `json:"dirs,omitempty"`
	// Files are written after the packages were unpacked.
	Files []File `json:"files,omitempty"`
	// Links are symbolic links, path to target.
	Links map[string]string `json:"links,omitempty"`
	// Certificates asks for the bundle of trusted authorities that the package's script would have made.
	Certificates bool `json:"certificates,omitempty"`
}

// Dir is a folder with its owner.
type Dir struct {
	Path string `json:"path"`
	Mode int64  `json:"mode"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
}

// File is a small text file owned by root.
type File struct {
	Path    string `json:"path"`
	Mode    int64  `json:"mode"`
	Content string `json:"content"`
}

// Image describes one operand image: the shared base with one layer above it.
type Image struct {
	// Name is what the image is called on the command line.
	Name string
	// Tag is the reference under which it is loaded.
	Tag string
	// Layers lie on one another, the base first. Empty for an image that holds a single static binary.
	Layers []Layer
	// User, Entrypoint, Command and Env are the image's run-time defaults.
	User       string
	Entrypoint []string
	Command    []string
	Env        []string
}

// Pause is the name of the sandbox image, which is compiled rather than assembled.
const Pause = "pause"

const (
	suite = "sid"
	path  = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	passwdBase = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	groupBase  = "root:x:0:\nnogroup:x:65534:\n"
)

// Images lists every operand image, in the order in which "all" builds them.
func Images() []Image {
	return []Image{
		{Name: Pause, Tag: "registry.k8s.io/pause:3.10", User: "65535:65535", Entrypoint: []string{"/pause"}},
		{
			Name: "mysql", Tag: "kapok.local/mysql:9.7", Layers: []Layer{base(), mysql()},
			User: "999:999", Command: []string{"mysqld"}, Env: []string{path},
		},
		{
			// For tests alone: a mysqld whose clock can be set without touching the machine's, by writing an offset such as
			// +3600 into a file. Programs that are linked statically, such as the agent, keep the true time.
			Name: "mysql-clock", Tag: "kapok.local/mysql-clock:9.7", Layers: []Layer{base(), mysql(), clock()},
			User: "999:999", Command: []string{"mysqld"},
			Env: []string{path, "LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1", "FAKETIME_TIMESTAMP_FILE=/var/lib/mysql/clock",
				"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"},
		},
		{
			Name: "mysqld-exporter", Tag: "kapok.local/mysqld-exporter:0.19", Layers: []Layer{base(), exporter()},
			User: "65534:65534", Entrypoint: []string{"/usr/bin/prometheus-mysqld-exporter"}, Env: []string{path},
		},
		{
			// For tests alone: what judges the alerts and what sends them on, with promtool and amtool.
			Name: "prometheus", Tag: "kapok.local/prometheus:sid", Layers: []Layer{base(), prometheus()},
			User: "65534:65534", Entrypoint: []string{"/usr/bin/prometheus"}, Env: []string{path},
		},
	}
}

// Find returns the image with the name.
func Find(name string) (Image, error) {
	images := Images()
	i := slices.IndexFunc(images, func(image Image) bool { return image.Name == name })
	if i < 0 {
		var known []string
		for _, image := range images {
			known = append(known, image.Name)
		}
		return Image{}, fmt.Errorf("no image is called %q; there are %v and all", name, known)
	}
	return images[i], nil
}

// trimmed leaves out what no container needs. Licence texts stay: whoever passes an image on must pass them on too.
func trimmed(more ...string) tree.Filter {
	return tree.Filter{
		Drop: append([]string{
			"usr/share/doc/", "usr/share/doc-base/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/",
			"usr/share/bug/", "usr/share/bash-completion/", "usr/share/menu/", "usr/share/base-files/", "usr/share/perl5/",
			"usr/share/debconf/", "usr/lib/debug/", "usr/include/", "usr/games/", "usr/share/gcc/", "usr/share/gdb/",
			"usr/lib/systemd/", "usr/lib/tmpfiles.d/", "usr/lib/sysusers.d/", "usr/lib/udev/", "usr/share/dbus-1/", "usr/share/polkit-1/",
			"etc/init.d/", "etc/cron.d/", "etc/cron.daily/", "etc/cron.weekly/", "etc/logrotate.d/", "etc/apparmor.d/", "etc/update-motd.d/",
		}, more...),
		Keep: []string{"usr/share/doc/*/copyright"},
	}
}

func base() Layer {
	return Layer{
		Name: "base", Suite: suite,
		Packages: []string{"base-files", "netbase", "bash", "coreutils", "sed", "grep", "ca-certificates", "tzdata"},
		Without: []string{
			"debconf", "openssl", "openssl-provider-legacy", "libc-gconv-modules-extra", "mawk", "original-awk", "debianutils",
			"libsystemd0",
		},
		Filter: trimmed("usr/share/zoneinfo/right/", "usr/bin/bashbug", "usr/bin/pinky", "usr/bin/users", "usr/bin/who", "usr/sbin/update-ca-certificates", "etc/ca-certificates/",
			"usr/lib/x86_64-linux-gnu/gconv/", "usr/lib/aarch64-linux-gnu/gconv/"),
		Dirs: []Dir{
			{Path: "tmp", Mode: 0o1777}, {Path: "var/tmp", Mode: 0o1777}, {Path: "run", Mode: 0o755}, {Path: "root", Mode: 0o700},
			{Path: "dev", Mode: 0o755}, {Path: "proc", Mode: 0o555}, {Path: "sys", Mode: 0o555},
		},
		Files: []File{
			{Path: "etc/passwd", Mode: 0o644, Content: passwdBase},
			{Path: "etc/group", Mode: 0o644, Content: groupBase},
			{Path: "etc/nsswitch.conf", Mode: 0o644, Content: "passwd: files\ngroup: files\nhosts: files dns\n"},
		},
		// What the scripts of base-files and bash would have done.
		Links: map[string]string{
			"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/bin/sh": "bash",
			"var/run": "/run", "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
		},
		Certificates: true,
	}
}

func mysql() Layer {
	return Layer{
		Name: "mysql", Suite: suite,
		Packages: []string{"mysql-server-core", "mysql-client-core"},
		// Perl serves mysqldumpslow and mysqld_multi only, which are dropped.
		Without: []string{
			"perl", "perl-base", "libperl5.42", "perl-modules-5.42", "libdb5.3t64", "libgdbm6t64", "libgdbm-compat4t64",
			"libsasl2-modules-db", "libc-gconv-modules-extra", "openssl-provider-legacy",
		},
		Filter: trimmed(append([]string{
			"usr/lib/mysql/plugin/*_client.so", "usr/lib/mysql/plugin/libpluginmecab.so", "usr/lib/mysql/plugin/component_telemetry.so",
			"usr/lib/mysql/plugin/component_mysqlbackup.so",
			"usr/bin/myisam*", "usr/bin/innochecksum", "usr/bin/ibd2sdi", "usr/bin/perror", "usr/bin/mysqlslap", "usr/bin/mysqlimport",
			"usr/bin/mysqlshow", "usr/bin/mysqlcheck", "usr/bin/mysql_migrate_keyring", "usr/bin/mysql_secure_installation",
			"usr/bin/mysql_config_editor", "usr/bin/mysqld_multi", "usr/bin/mysqld_safe", "usr/bin/mysqldumpslow", "etc/mecabrc",
			"usr/share/mysql/mysql-log-rotate", "usr/share/mysql/dictionary.txt",
		}, languages()...)...),
		Dirs: []Dir{
			{Path: "var/lib/mysql", Mode: 0o750, UID: 999, GID: 999},
			{Path: "var/lib/mysql-files", Mode: 0o700, UID: 999, GID: 999},
			{Path: "var/lib/mysql-keyring", Mode: 0o750, UID: 999, GID: 999},
			{Path: "run/mysqld", Mode: 0o775, UID: 999, GID: 999},
			{Path: "etc/mysql/conf.d", Mode: 0o755},
		},
		Files: []File{
			{Path: "etc/passwd", Mode: 0o644, Content: passwdBase + "mysql:x:999:999:MySQL:/var/lib/mysql:/usr/sbin/nologin\n"},
			{Path: "etc/group", Mode: 0o644, Content: groupBase + "mysql:x:999:\n"},
		},
	}
}

// clock is the library that shows a program another time.
func clock() Layer {
	return Layer{Name: "clock", Suite: suite, Packages: []string{"libfaketime"}, Filter: trimmed()}
}

// languages lists the message catalogues that are dropped: all but English.
func languages() []string {
	var drop []string
	for _, language := range []string{
		"bulgarian", "czech", "danish", "dutch", "estonian", "french", "german", "greek", "hungarian", "italian", "japanese", "korean",
		"norwegian", "norwegian-ny", "polish", "portuguese", "romanian", "russian", "serbian", "slovak", "spanish", "swedish", "ukrainian",
	} {
		drop = append(drop, "usr/share/mysql/"+language+"/")
	}
	return drop
}

func exporter() Layer {
	return Layer{
		Name: "mysqld-exporter", Suite: suite,
		Packages: []string{"prometheus-mysqld-exporter"},
		// The exporter is one static Go binary; its dependencies only create a user and start a service.
		Without: []string{
			"adduser", "passwd", "base-passwd", "debconf", "login.defs", "libdebconfclient0", "libaudit-common", "libaudit1", "libcap-ng0",
			"libcrypt1", "libdb5.3t64", "libpam0g", "libpam-modules", "libpam-modules-bin", "libsystemd0", "libmd0", "libbsd0",
			"libsemanage-common", "libsemanage2", "libsepol2", "libbz2-1.0", "libc-gconv-modules-extra",
		},
		Filter: trimmed("etc/default/"),
	}
}

// prometheus holds Prometheus and Alertmanager with their tools. Like the exporter they are Go programs that need libc alone.
func prometheus() Layer {
	return Layer{
		Name: "prometheus", Suite: suite, Packages: []string{"prometheus", "prometheus-alertmanager"},
		Filter: trimmed("etc/default/"),
	}
}
