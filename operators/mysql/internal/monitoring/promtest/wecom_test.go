package promtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// docs is where the pages for users and the example configuration are.
var docs = filepath.Join("..", "..", "..", "..", "..", "docs")

// robot takes messages as WeCom documents it for group robots: POST of JSON with msgtype and the part of that name, whose
// content is UTF-8 of at most 4096 bytes. It answers 200 in any case, with an errcode.
type robot struct {
	mu       sync.Mutex
	contents []string
	refused  []string
}

func (r *robot) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	content, why := judge(req, body)
	if err != nil {
		why = err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if why != "" {
		r.refused = append(r.refused, why+": "+string(body))
		_, _ = fmt.Fprintf(w, `{"errcode":40058,"errmsg":%q}`, why)
		return
	}
	r.contents = append(r.contents, content)
	_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
}

// judge says what is wrong with a message.
func judge(req *http.Request, body []byte) (content, why string) {
	var message struct {
		Msgtype  string
		Markdown struct{ Content string }
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	switch err := decoder.Decode(&message); {
	case req.Method != http.MethodPost:
		return "", "method " + req.Method
	case !strings.HasPrefix(req.Header.Get("Content-Type"), "application/json"):
		return "", "content type " + req.Header.Get("Content-Type")
	case req.URL.Query().Get("key") != "secret-key":
		return "", "invalid key"
	case err != nil:
		return "", "not the JSON of a message: " + err.Error()
	case message.Msgtype != "markdown":
		return "", "msgtype " + message.Msgtype
	case message.Markdown.Content == "":
		return "", "empty content"
	case len(message.Markdown.Content) > 4096 || !utf8.ValidString(message.Markdown.Content):
		return "", fmt.Sprintf("content of %d bytes", len(message.Markdown.Content))
	}
	return message.Markdown.Content, ""
}

func (r *robot) seen() (contents, refused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.contents...), append([]string(nil), r.refused...)
}

// address returns one that nobody listens on.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// alertmanagerRoot makes a folder with all that Debian's Alertmanager needs at fixed places: its own templates are not part of
// the program, and where they lie cannot be told. To run it there takes the right to chroot.
func alertmanagerRoot(t *testing.T) string {
	t.Helper()
	from, root := filepath.Dir(filepath.Dir(filepath.Dir(program(t, "prometheus-alertmanager")))), t.TempDir()
	for _, folder := range []string{"usr/lib", "usr/lib64", "usr/share/prometheus/alertmanager"} {
		if err := os.CopyFS(filepath.Join(root, folder), os.DirFS(filepath.Join(from, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+folder, filepath.Join(root, folder)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"usr/bin", "data"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(program(t, "prometheus-alertmanager"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/prometheus-alertmanager"), raw, 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// start runs a program until the end of the test and waits until it is ready.
func start(t *testing.T, url string, command *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	name := filepath.Base(command.Path)
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get(url + "/-/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not get ready: %v", name, err)
		}
	}
}

// TestAlertsReachAWeComRobot runs the real Alertmanager with the example that users are given.
func TestAlertsReachAWeComRobot(t *testing.T) {
	receiver := &robot{}
	server := httptest.NewServer(receiver)
	defer server.Close()
	root := alertmanagerRoot(t)
	example := func(name string) string {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(docs, "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for path, content := range map[string]string{
		// Only how long it waits differs from what users are given.
		"alertmanager.yaml": strings.NewReplacer("group_wait: 10s", "group_wait: 100ms", "group_interval: 1m", "group_interval: 200ms").
			Replace(example("alertmanager-wecom.yaml")),
		"templates/wecom.tmpl": example("wecom.tmpl"),
		"secrets/wecom":        server.URL + "/cgi-bin/webhook/send?key=secret-key",
	} {
		path = filepath.Join(root, "etc/alertmanager", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := address(t)
	url := "http://" + at
	command := exec.Command("/usr/bin/prometheus-alertmanager", "--config.file=/etc/alertmanager/alertmanager.yaml", "--storage.path=/data",
		"--web.listen-address="+at, "--cluster.listen-address=")
	command.Dir, command.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	start(t, url, command)

	long := strings.Repeat("很长的说明 with \"quotes\" and \n lines 🦆 ", 40)
	alert := func(name, namespace, pod, summary string, over bool) map[string]any {
		out := map[string]any{
			"labels":      map[string]string{"alertname": name, "namespace": namespace, "mysql_cluster": "shop", "severity": "critical", "pod": pod},
			"annotations": map[string]string{"summary": summary, "runbook_url": "https://example.com/" + name + ".md"},
		}
		if over {
			out["endsAt"] = time.Now().Add(-time.Second).Format(time.RFC3339)
		}
		return out
	}
	send := func(alerts ...map[string]any) {
		t.Helper()
		body, err := json.Marshal(alerts)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Post(url+"/api/v2/alerts", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("Alertmanager answers %s", response.Status)
		}
	}
	await := func(words ...string) string {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			contents, refused := receiver.seen()
			if len(refused) > 0 {
				t.Fatalf("the robot refused %s", refused[0])
			}
			for _, content := range contents {
				all := true
				for _, word := range words {
					all = all && strings.Contains(content, word)
				}
				if all {
					return content
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("no message with %q among %q", words, contents)
			}
		}
	}

	send(alert("MySQLNoPrimary", "trade", "shop-0", "No instance takes \"writes\" 没有主库", false))
	t.Log(await("1 firing", "MySQL trade/shop", "**MySQLNoPrimary**", "shop-0", "\"writes\" 没有主库", "[runbook](https://example.com/MySQLNoPrimary.md)"))
	send(alert("MySQLNoPrimary", "trade", "shop-0", "No instance takes \"writes\" 没有主库", true))
	await("resolved", "**MySQLNoPrimary**")

	// Far more than a robot takes: cut, and still whole.
	var storm []map[string]any
	for i := range 30 {
		storm = append(storm, alert(fmt.Sprintf("MySQL%s%d", strings.Repeat("极", 60), i), "storm", strings.Repeat("荚", 90), long, false))
	}
	send(storm...)
	content := await("30 firing", "and others, 30 in all")
	if len(content) < 1000 {
		t.Errorf("only %d bytes are left of a storm: %s", len(content), content)
	}
	t.Logf("a storm of 30 alerts makes %d bytes", len(content))
}

// TestTheRobotIsStrict: a receiver that takes everything would prove nothing.
func TestTheRobotIsStrict(t *testing.T) {
	for body, want := range map[string]string{
		`{"msgtype":"markdown","markdown":{"content":"x"}}`:                                 "",
		`{"msgtype":"text","markdown":{"content":"x"}}`:                                     "msgtype",
		`{"msgtype":"markdown","markdown":{"content":""}}`:                                  "empty",
		`{"msgtype":"markdown","markdown":{"content":"` + strings.Repeat("x", 4097) + `"}}`: "4097",
		`{"msgtype":"markdown","markdown":{"content":"x"},"alerts":[]}`:                     "not the JSON",
		`{"msgtype":"markdown","markdown":"{\"content\":\"x\"}"}`:                           "not the JSON",
		`{"msgtype":"markdown","markdown":{"content":"` + strings.Repeat("x", 4096) + `"}}`: "",
	} {
		req := httptest.NewRequest(http.MethodPost, "/send?key=secret-key", nil)
		req.Header.Set("Content-Type", "application/json")
		if _, why := judge(req, []byte(body)); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%.60s: %q", body, why)
		}
	}
}
