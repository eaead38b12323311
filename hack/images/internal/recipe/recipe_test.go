package recipe

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

func TestImagesAreNamedFullyAndOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, image := range Images() {
		if _, err := name.NewTag(image.Tag, name.StrictValidation); err != nil {
			t.Errorf("%s: %v", image.Name, err)
		}
		if seen[image.Name] || seen[image.Tag] {
			t.Errorf("%s appears twice", image.Name)
		}
		seen[image.Name], seen[image.Tag] = true, true
		if image.User == "" || strings.HasPrefix(image.User, "0") {
			t.Errorf("%s runs as root", image.Name)
		}
		found, err := Find(image.Name)
		if err != nil || found.Tag != image.Tag {
			t.Errorf("%s is not found by its name: %v", image.Name, err)
		}
	}
	if _, err := Find("mysqld"); err == nil || !strings.Contains(err.Error(), "mysqld-exporter") {
		t.Errorf("an unknown name should be answered with the known ones: %v", err)
	}
}

func TestMySQLLayerKeepsWhatTheAgentNeeds(t *testing.T) {
	layer := mysql()
	for _, file := range []string{
		"usr/sbin/mysqld", "usr/bin/mysql", "usr/bin/mysqladmin", "usr/bin/mysqlbinlog", "usr/bin/mysqldump",
		"usr/lib/mysql/plugin/semisync_source.so", "usr/lib/mysql/plugin/semisync_replica.so", "usr/lib/mysql/plugin/mysql_clone.so",
		"usr/lib/mysql/plugin/auth_socket.so", "usr/share/mysql/english/errmsg.sys", "usr/share/mysql/charsets/Index.xml",
		"usr/share/doc/mysql-server-core/copyright",
	} {
		if !layer.Filter.Keeps(file) {
			t.Errorf("%s is dropped", file)
		}
	}
	for _, file := range []string{"usr/share/mysql/german/errmsg.sys", "usr/bin/mysqlslap", "usr/share/man/man1/mysql.1.gz", "usr/share/doc/mysql-server-core/changelog.gz"} {
		if layer.Filter.Keeps(file) {
			t.Errorf("%s is kept", file)
		}
	}
}

// mysqld's auth_socket looks the caller up in the image's passwd file, so the image's user must have an entry there.
func TestMySQLUserHasAPasswdEntry(t *testing.T) {
	image, err := Find("mysql")
	if err != nil {
		t.Fatal(err)
	}
	uid, gid, _ := strings.Cut(image.User, ":")
	for _, file := range mysql().Files {
		switch file.Path {
		case "etc/passwd":
			if !strings.Contains(file.Content, "\nmysql:x:"+uid+":"+gid+":") {
				t.Errorf("passwd lacks mysql with %s:\n%s", image.User, file.Content)
			}
		case "etc/group":
			if !strings.Contains(file.Content, "\nmysql:x:"+gid+":") {
				t.Errorf("group lacks mysql with %s:\n%s", gid, file.Content)
			}
		}
	}
}
