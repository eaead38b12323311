package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/kapok-operators/kapok/shared/agent"
)

// Port is where the metrics are served; it is the exporter's own by custom.
const Port = 9104

// textFormat is the content type of metrics.
const textFormat = "text/plain; version=0.0.4; charset=utf-8"

// behind is where the exporter itself listens.
const behind = "127.0.0.1:9105"

const (
	// poll is how often the password's file is looked at.
	poll = time.Second
	// patience bounds one scrape; Prometheus gives up sooner by default.
	patience = 30 * time.Second
	// aliveWithin is how long the exporter may take to show that it runs.
	aliveWithin = 500 * time.Millisecond
	// restartAfter is the pause before an exporter that ended is started again.
	restartAfter = 2 * time.Second
	// stopWithin is how long the exporter may take to end.
	stopWithin = 2 * time.Second
)

// programs are the names of the exporter's executable: in its official image and in Debian's package.
var programs = [...]string{"mysqld_exporter", "prometheus-mysqld-exporter"}

// Options says what to run and where.
type Options struct {
	// Credentials is the client option file with the exporter's account (agent.Options.Monitor).
	Credentials string
	// Program is the exporter's executable; empty looks for it under its usual names.
	Program string
	// Behind is where the exporter itself listens, as host:port; empty is 127.0.0.1:9105.
	Behind string
	// Logger receives what happens, never a secret.
	Logger *slog.Logger `json:"-"`
}

// Exporter runs one exporter.
type Exporter struct {
	opts       Options
	supervisor *agent.Supervisor
	client     *http.Client
}

// New prepares an exporter; it fails if there is no such program.
func New(opts Options, supervisor *agent.Supervisor) (*Exporter, error) {
	if opts.Program == "" {
		program, err := find()
		if err != nil {
			return nil, err
		}
		opts.Program = program
	}
	if opts.Behind == "" {
		opts.Behind = behind
	}
	// No proxy: the way leads to this pod and must not leave it, whatever the environment says.
	return &Exporter{opts: opts, supervisor: supervisor, client: &http.Client{Transport: &http.Transport{MaxIdleConns: 2}, Timeout: patience}}, nil
}

// find looks for the exporter in the image: on its PATH, and in /bin, where the official image has it.
func find() (string, error) {
	for _, name := range programs {
		for _, path := range []string{name, "/bin/" + name, "/usr/bin/" + name} {
			if found, err := exec.LookPath(path); err == nil {
				return found, nil
			}
		}
	}
	return "", fmt.Errorf("the image has no exporter: it must hold %v on its PATH; set spec.monitoring.image to one that does", programs)
}

// arguments are the exporter's flags. What is collected is what the account's rights are made for.
func (e *Exporter) arguments() []string {
	return []string{
		"--config.my-cnf=" + e.opts.Credentials,
		"--web.listen-address=" + e.opts.Behind,
		"--log.level=warn",
		"--exporter.lock_wait_timeout=2",
		"--collect.global_status",
		"--collect.global_variables",
		"--collect.slave_status",
		"--collect.binlog_size",
		"--collect.info_schema.innodb_metrics",
		"--collect.perf_schema.eventsstatementssum",
		"--collect.perf_schema.replication_applier_status_by_worker",
		// They say nothing here and cost a question each: compressed tables, and a plugin of another server.
		"--no-collect.info_schema.innodb_cmp",
		"--no-collect.info_schema.innodb_cmpmem",
		"--no-collect.info_schema.query_response_time",
	}
}

// Run keeps the exporter running until ctx ends.
func (e *Exporter) Run(ctx context.Context) error {
	for {
		stamp, err := e.await(ctx)
		if err != nil {
			return nil //nolint:nilerr // It was asked to stop.
		}
		process, err := e.supervisor.Start(agent.Spec{Path: e.opts.Program, Args: e.arguments(), Dir: "/", Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			return fmt.Errorf("start the exporter: %w", err)
		}
		e.opts.Logger.Info("Started the exporter", "pid", process.PID())
		e.follow(ctx, process, stamp)
		if ctx.Err() != nil {
			return e.stop(context.WithoutCancel(ctx), process)
		}
		exit, _ := process.Exit()
		e.opts.Logger.Warn("The exporter ended", "how", exit.String())
		if !sleep(ctx, restartAfter) {
			return nil
		}
	}
}

// stamp tells one content of the password's file from another.
type stamp struct {
	at   time.Time
	size int64
	info os.FileInfo
}

func (e *Exporter) stamp() (stamp, error) {
	info, err := os.Stat(e.opts.Credentials)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size(), info}, nil
}

// differs says whether the file was replaced: the agent renames a new one into its place.
func (s stamp) differs(from stamp) bool {
	return !s.at.Equal(from.at) || s.size != from.size || !os.SameFile(s.info, from.info)
}

// await waits until the agent has written the password.
func (e *Exporter) await(ctx context.Context) (stamp, error) {
	said := false
	for {
		s, err := e.stamp()
		if err == nil {
			return s, nil
		}
		if !said && !errors.Is(err, fs.ErrNotExist) {
			e.opts.Logger.Warn("The password of the exporter cannot be read", "error", err.Error())
			said = true
		}
		if !sleep(ctx, poll) {
			return stamp{}, ctx.Err()
		}
	}
}

// follow has the exporter read its password again whenever it changes, until the process or ctx ends.
func (e *Exporter) follow(ctx context.Context, process *agent.Process, read stamp) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-process.Done():
			return
		case <-ticker.C:
		}
		now, err := e.stamp()
		if err != nil || !now.differs(read) {
			continue
		}
		if err := e.reload(ctx); err != nil {
			e.opts.Logger.Warn("The exporter did not read its new password; it is asked again", "error", err.Error())
			continue
		}
		read = now
		e.opts.Logger.Info("The exporter has read its new password")
	}
}

func (e *Exporter) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, poll)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.opts.Behind+"/-/reload", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the exporter to reload: %w", err)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the exporter to reload: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the exporter to reload: it answers %s", response.Status)
	}
	return nil
}

// stop ends the exporter. It holds nothing, so that it may be killed if it does not listen.
func (e *Exporter) stop(ctx context.Context, process *agent.Process) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if _, err := process.Terminate(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop the exporter: %w", err)
	}
	return nil
}

// sleep waits, and says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Handler answers GET /metrics with what the exporter says at that moment, old names added. While there is no exporter it
// answers 503: the scrape fails, which is the truth, and mysqld is not called down for it. It is if the exporter runs and waits for
// it in vain.
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", e.metrics)
	return mux
}

// scrapeTimeout is the header in which Prometheus says how many seconds it waits.
const scrapeTimeout = "X-Prometheus-Scrape-Timeout-Seconds"

// within says how long the exporter may take for a scrape: four fifths of what Prometheus waits, so that there is time left to say
// that it took too long.
func within(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get(scrapeTimeout), 64)
	if err != nil || seconds <= 0 || seconds > patience.Seconds() {
		return patience
	}
	return time.Duration(seconds * float64(time.Second) * 4 / 5)
}

func (e *Exporter) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), within(r))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.opts.Behind+"/metrics", http.NoBody)
	if err != nil {
		http.Error(w, "the exporter cannot be asked", http.StatusInternalServerError)
		return
	}
	if seconds := r.Header.Get(scrapeTimeout); seconds != "" {
		request.Header.Set(scrapeTimeout, seconds)
	}
	response, err := e.client.Do(request)
	switch {
	case err == nil:
	case ctx.Err() != nil && r.Context().Err() == nil && e.alive(r.Context()):
		e.down(w)
		return
	case ctx.Err() != nil:
		http.Error(w, "the exporter does not answer", http.StatusGatewayTimeout)
		return
	default:
		http.Error(w, "the exporter does not run: it waits for mysqld to be started once, or has just ended", http.StatusServiceUnavailable)
		return
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		http.Error(w, "the exporter answers "+response.Status, http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", textFormat)
	if err := WithOldNames(w, response.Body); err != nil {
		// Half of the metrics would look like the whole: the connection is cut instead.
		e.opts.Logger.Warn("A scrape was cut short", "error", err.Error())
		panic(http.ErrAbortHandler)
	}
}

// alive says whether the exporter answers what it need not ask mysqld for.
func (e *Exporter) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.opts.Behind+"/", http.NoBody)
	if err != nil {
		return false
	}
	response, err := e.client.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}

// down says that mysqld does not answer. The exporter says nothing then: it waits for mysqld for as long as it takes, longer than
// Prometheus waits for it, and a mysqld that stands still would look like an exporter that does.
func (e *Exporter) down(w http.ResponseWriter) {
	w.Header().Set("Content-Type", textFormat)
	// Who asked may have gone; it asks again.
	_, _ = io.WriteString(w, "# HELP mysql_up Whether the MySQL server is up.\n# TYPE mysql_up gauge\nmysql_up 0\n")
}
