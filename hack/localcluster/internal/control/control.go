// Package control is how commands talk to the supervisor of a cluster: HTTP on a socket in its state folder.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// Cluster states.
const (
	// Starting is a cluster that is being brought up.
	Starting = "starting"
	// Ready is a cluster whose nodes were all Ready once.
	Ready = "ready"
	// Failed is a cluster that could not be brought up.
	Failed = "failed"
	// Stopped is a cluster without a supervisor.
	Stopped = "stopped"
)

// Box states.
const (
	// Running is a box that runs.
	Running = "running"
	// Off is a box without power.
	Off = "off"
	// Cut is a running node without network.
	Cut = "cut"
	// Frozen is a running box whose processes stand still.
	Frozen = "frozen"
)

// Operations on a node.
const (
	// Stop takes a node's power away.
	Stop = "stop"
	// Start gives it back and waits until the node is Ready.
	Start = "start"
	// CutOff takes a node's network away.
	CutOff = "cut"
	// Heal gives it back, and ends every other fault of the node's network.
	Heal = "heal"
	// Freeze lets a box's processes stand still.
	Freeze = "freeze"
	// Thaw lets them go on.
	Thaw = "thaw"
)

// Operations on a program of the control plane.
const (
	// Pause lets its process stand still.
	Pause = "pause"
	// Resume lets it go on.
	Resume = "resume"
	// Restart ends it at once; it is started again within about a second.
	Restart = "restart"
)

// Operations on a volume.
const (
	// Stall lets writes hang.
	Stall = "stall"
	// Release lets them go on.
	Release = "release"
)

// Status is what a cluster is doing.
type Status struct {
	// Name is the cluster's name.
	Name string `json:"name"`
	// State is one of the cluster states.
	State string `json:"state"`
	// Error says why the state is Failed.
	Error string `json:"error,omitempty"`
	// API is the address of the API server on the machine.
	API string `json:"api,omitempty"`
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// AuditLog is the path of the API server's audit log.
	AuditLog string `json:"auditLog,omitempty"`
	// Supervisor is the process that keeps the boxes.
	Supervisor int `json:"supervisor,omitempty"`
	// Boxes are the parts of the cluster, the control plane first.
	Boxes []Box `json:"boxes,omitempty"`
	// NetworkFaults are the rules about the network that are in force, besides cables that are out.
	NetworkFaults []netfault.Rule `json:"networkFaults,omitempty"`
}

// Box is what a part of the cluster is doing.
type Box struct {
	// Name is the box's name: control-plane, or the node's.
	Name string `json:"name"`
	// State is one of the box states.
	State string `json:"state"`
	// Pid is the box's first process, on the machine.
	Pid int `json:"pid,omitempty"`
	// IP is its address on the cluster's LAN.
	IP string `json:"ip"`
	// Zone is the node's zone.
	Zone string `json:"zone,omitempty"`
	// Ready is the node's condition of that name, as the API knows it.
	Ready string `json:"ready,omitempty"`
	// Paused are its programs that stand still.
	Paused []string `json:"paused,omitempty"`
	// Stalled are its volumes on which writes hang.
	Stalled []string `json:"stalled,omitempty"`
}

// Event is one line of progress. The last one has a State other than Starting.
type Event struct {
	// Line is for the user.
	Line string `json:"line,omitempty"`
	// State is the cluster's.
	State string `json:"state"`
	// Error says why the state is Failed.
	Error string `json:"error,omitempty"`
}

// ErrNoSupervisor is returned where no supervisor answers.
var ErrNoSupervisor = errors.New("the cluster is not running")

// Client asks a supervisor.
type Client struct {
	http *http.Client
}

// NewClient returns a client of the supervisor that listens on the socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var conn net.Conn
		err := Short(socket, func(short string) (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
			return err
		})
		return conn, err
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Short calls f with a path of the socket that is short enough for the kernel, which takes 107 characters and no more.
func Short(socket string, f func(short string) error) error {
	dir, err := os.Open(filepath.Dir(socket))
	if err != nil {
		return fmt.Errorf("open folder of control socket: %w", err)
	}
	short := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(socket)
	return errors.Join(f(short), dir.Close())
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the supervisor's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(string(bytes.TrimSpace(data)))
	}
	return data, nil
}

func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, os.ErrNotExist) {
			return nil, ErrNoSupervisor
		}
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	return resp, nil
}

// Status returns what the cluster is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	data, err := c.do(ctx, http.MethodGet, "/status", nil, 15*time.Second)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("parse the supervisor's answer: %w", err)
	}
	return s, nil
}

// Follow calls line for each line of progress until the cluster is no longer starting, and returns an error if it failed.
func (c *Client) Follow(ctx context.Context, line func(string)) error {
	resp, err := c.send(ctx, http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	for events := json.NewDecoder(resp.Body); ; {
		var e Event
		if err := events.Decode(&e); err != nil {
			return fmt.Errorf("the supervisor ended while the cluster was starting: %w", err)
		}
		if e.Line != "" {
			line(e.Line)
		}
		switch e.State {
		case Ready:
			return nil
		case Failed:
			return errors.New(e.Error)
		}
	}
}

// Node carries out an operation on a node.
func (c *Client) Node(ctx context.Context, operation, node string) error {
	_, err := c.do(ctx, http.MethodPost, "/node/"+operation+"/"+node, nil, 5*time.Minute)
	return err
}

// Disturb makes the network as bad as the rule says. A rule that is in force already is no error.
func (c *Client) Disturb(ctx context.Context, rule netfault.Rule) error {
	body, err := json.Marshal(rule)
	if err != nil {
		return fmt.Errorf("encode rule: %w", err)
	}
	_, err = c.do(ctx, http.MethodPost, "/network", body, time.Minute)
	return err
}

// Service carries out an operation on a program of the control plane.
func (c *Client) Service(ctx context.Context, operation, service string) error {
	_, err := c.do(ctx, http.MethodPost, "/service/"+operation+"/"+url.PathEscape(service), nil, time.Minute)
	return err
}

// Volume carries out an operation on a volume of a node.
func (c *Client) Volume(ctx context.Context, operation, node, volume string) error {
	path := "/volume/" + operation + "/" + url.PathEscape(node) + "/" + url.PathEscape(volume)
	_, err := c.do(ctx, http.MethodPost, path, nil, time.Minute)
	return err
}

// Shutdown ends every box and then the supervisor.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodPost, "/shutdown", nil, time.Minute)
	return err
}
