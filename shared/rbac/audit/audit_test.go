package audit

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/shared/rbac"
)

var account = types.NamespacedName{Namespace: "ops", Name: "operator"}

const me = "system:serviceaccount:ops:operator"

// request is a line of a log.
type request struct {
	user, verb, group, resource, sub, namespace, name, uri, decision, stage, id string
	code                                                                        int
	at                                                                          time.Time
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func lines(requests ...request) io.Reader {
	var b strings.Builder
	for i, r := range requests {
		or := func(value *string, fallback string) {
			if *value == "" {
				*value = fallback
			}
		}
		or(&r.user, me)
		or(&r.decision, "allow")
		or(&r.stage, "ResponseComplete")
		or(&r.id, fmt.Sprint("id", i))
		or(&r.uri, "/somewhere")
		if r.code == 0 {
			r.code = 200
		}
		if r.at.IsZero() {
			r.at = began
		}
		ref := ""
		if r.resource != "" {
			ref = fmt.Sprintf(`"objectRef":{"resource":%q,"namespace":%q,"name":%q,"apiGroup":%q,"subresource":%q},`, r.resource, r.namespace, r.name, r.group, r.sub)
		}
		fmt.Fprintf(&b, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":%q,"requestURI":%q,"verb":%q,"user":{"username":%q},%s`+
			`"responseStatus":{"code":%d},"requestReceivedTimestamp":%q,"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":%q,"authorization.k8s.io/reason":"because"}}`+"\n",
			r.id, r.stage, r.uri, r.verb, r.user, ref, r.code, r.at.Format("2006-01-02T15:04:05.000000Z"), r.at.Format("2006-01-02T15:04:05.000000Z"), r.decision)
	}
	return strings.NewReader(b.String())
}

func grant(role, namespace, verb, resource string) rbac.Grant {
	return rbac.Grant{Role: role, Namespace: namespace, Permission: rbac.Permission{Verb: verb, Resource: resource}}
}

func report(t *testing.T, opts Options, log ...io.Reader) *Report {
	t.Helper()
	opts.Account = account
	r, err := Check(opts, log...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verdicts prints what matters of the rows.
func verdicts(r *Report) string {
	var out []string
	for _, row := range r.Rows {
		out = append(out, fmt.Sprintf("%s %s=%d %s", row.Role, row.Permission, row.Requests, row.Verdict))
	}
	return strings.Join(out, "; ")
}

func TestExactlyEnough(t *testing.T) {
	grants := []rbac.Grant{grant("Role a", "shop", "get", "pods"), grant("Role a", "shop", "delete", "pods")}
	r := report(t, Options{Grants: grants}, lines(
		request{verb: "get", resource: "pods", namespace: "shop", name: "p"},
		request{verb: "delete", resource: "pods", namespace: "shop", name: "p"},
		// What every account may do, and what somebody else does.
		request{verb: "get", uri: "/apis?timeout=5s"},
		request{verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews"},
		request{user: "kubernetes-admin", verb: "delete", resource: "nodes", name: "n"},
		request{user: me + "-not", verb: "delete", resource: "nodes", name: "n"},
	))
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Requests != 4 {
		t.Errorf("%d requests were looked at", r.Requests)
	}
}

func TestEveryDifferenceIsFound(t *testing.T) {
	get := request{verb: "get", resource: "pods", namespace: "shop", name: "p"}
	one := []rbac.Grant{grant("Role a", "shop", "get", "pods")}
	url := request{verb: "get", uri: "/logs/kubelet.log"}
	with := func(change func(*request)) request { r := get; change(&r); return r }
	for name, c := range map[string]struct {
		grants []rbac.Grant
		log    []request
		want   string
	}{
		"never used":        {append(one, grant("Role a", "shop", "list", "pods")), []request{get}, "never used: list pods"},
		"another verb":      {one, []request{get, with(func(r *request) { r.verb = "list"; r.decision = "forbid"; r.code = 403 })}, "refused 1 times, first at 2026-01-02T03:04:05Z: list pods named p in namespace shop"},
		"another namespace": {one, []request{get, with(func(r *request) { r.namespace = "other" })}, "allowed by something else than the installation, 1 times: get pods named p in namespace other (because)"},
		"a subresource":     {one, []request{get, with(func(r *request) { r.sub = "status" })}, "get pods/status named p"},
		"another group":     {one, []request{get, with(func(r *request) { r.group = "metrics.k8s.io" })}, "get pods.metrics.k8s.io named p"},
		"a URL":             {one, []request{get, url}, "get /logs/kubelet.log"},
		"another name": {[]rbac.Grant{{Role: "Role a", Namespace: "shop", Permission: rbac.Permission{Verb: "get", Resource: "pods", Name: "q"}}}, []request{get},
			"never used: get pods named q"},
		"the subresource is never used": {append(one, grant("Role a", "shop", "get", "pods/status")), []request{get}, "never used: get pods/status"},
		"applied without create": {append(one, grant("Role a", "shop", "patch", "pods")),
			[]request{get, with(func(r *request) { r.verb = "patch" }), with(func(r *request) { r.verb = "patch"; r.code = 403; r.uri = "/pods/p?fieldManager=operator&force=true" })}, "refused 1 times, first at 2026-01-02T03:04:05Z: create pods"},
		"nothing at all": {nil, nil, "no request"},
	} {
		err := report(t, Options{Grants: c.grants}, lines(c.log...)).Err()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestImpliedPermissions(t *testing.T) {
	grants := []rbac.Grant{
		grant("R", "", "list", "pods"), grant("R", "", "watch", "pods"), grant("R", "", "create", "pods"), grant("R", "", "patch", "pods"),
	}
	streamed := request{verb: "watch", resource: "pods", uri: "/api/v1/pods?sendInitialEvents=true&watch=true"}
	plain := request{verb: "watch", resource: "pods", uri: "/api/v1/pods?watch=true"}
	made := request{verb: "patch", resource: "pods", namespace: "shop", name: "p", code: 201}
	changed := request{verb: "patch", resource: "pods", namespace: "shop", name: "p"}
	denied := request{verb: "patch", resource: "pods", namespace: "shop", name: "p", code: 403}
	if got := report(t, Options{Grants: []rbac.Grant{grant("R", "", "patch", "pods")}}, lines(denied)).Err(); got != nil {
		t.Errorf("a patch that an admission plugin denied counts as a missing permission: %v", got)
	}
	if err := report(t, Options{Grants: grants}, lines(streamed, made)).Err(); err != nil {
		t.Errorf("a streamed list and an object that was applied anew: %v", err)
	}
	if got := verdicts(report(t, Options{Grants: grants}, lines(plain, changed))); got != "R create pods=0 NEVER USED; R list pods=0 NEVER USED; R patch pods=1 used; R watch pods=1 used" {
		t.Errorf("a watch alone and an object that was there: %s", got)
	}
	// An account that may watch and not list gets a streamed list; nothing else has granted it.
	if err := report(t, Options{Grants: grants[1:2]}, lines(streamed)).Err(); err != nil {
		t.Errorf("an implied permission that is not granted: %v", err)
	}
}

func TestTheNarrowestGrantIsUsed(t *testing.T) {
	grants := []rbac.Grant{
		grant("ClusterRole wide", "", "get", "configmaps"), grant("Role own", "ops", "get", "configmaps"),
		{Role: "Role own", Namespace: "ops", Permission: rbac.Permission{Verb: "get", Resource: "configmaps", Name: "ca"}},
	}
	ca := request{verb: "get", resource: "configmaps", namespace: "ops", name: "ca"}
	got := verdicts(report(t, Options{Grants: grants}, lines(ca, ca)))
	if want := "ClusterRole wide get configmaps=0 NEVER USED; Role own get configmaps=0 NEVER USED; Role own get configmaps named ca=2 used"; got != want {
		t.Errorf("got %s", got)
	}
	other, elsewhere := ca, ca
	other.name, elsewhere.namespace = "other", "shop"
	if err := report(t, Options{Grants: grants}, lines(ca, other, elsewhere)).Err(); err != nil {
		t.Error(err)
	}
}

func TestCopiesOfARoleAreOne(t *testing.T) {
	grants := []rbac.Grant{grant("Role a", "shop", "get", "pods"), grant("Role a", "forum", "get", "pods")}
	r := report(t, Options{Grants: grants}, lines(request{verb: "get", resource: "pods", namespace: "forum", name: "p"}))
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if len(r.Rows) != 1 || strings.Join(r.Rows[0].Namespaces, ",") != "shop,forum" {
		t.Errorf("got %+v", r.Rows)
	}
}

func TestExceptionsDoNotRot(t *testing.T) {
	grants := []rbac.Grant{grant("Role a", "shop", "get", "pods"), grant("Role a", "shop", "patch", "events")}
	get := request{verb: "get", resource: "pods", namespace: "shop", name: "p"}
	rare := func(verb, resource string) Rare {
		return Rare{Role: "Role a", Permission: rbac.Permission{Verb: verb, Resource: resource}, Why: "a reason"}
	}
	if err := report(t, Options{Grants: grants, Rare: []Rare{rare("patch", "events")}}, lines(get)).Err(); err != nil {
		t.Errorf("an excused grant: %v", err)
	}
	for name, c := range map[string]struct {
		rare Rare
		log  []request
		want string
	}{
		"used after all": {rare("patch", "events"), []request{get, {verb: "patch", resource: "events", namespace: "shop", name: "e"}}, "has rotted: it was used 1 times"},
		"not granted":    {rare("delete", "pods"), []request{get, {verb: "patch", resource: "events", namespace: "shop", name: "e"}}, "has rotted: nothing grants it"},
	} {
		r := report(t, Options{Grants: grants, Rare: []Rare{c.rare}}, lines(c.log...))
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r.ErrPartly() == nil {
			t.Errorf("%s: a part of the log shows it as well", name)
		}
	}
	sometimes := rare("patch", "events")
	sometimes.Sometimes = true
	for _, log := range [][]request{{get}, {get, {verb: "patch", resource: "events", namespace: "shop", name: "e"}}} {
		if err := report(t, Options{Grants: grants, Rare: []Rare{sometimes}}, lines(log...)).Err(); err != nil {
			t.Errorf("what is used sometimes: %v", err)
		}
	}
	if _, err := Check(Options{Account: account, Grants: grants, Rare: []Rare{{Role: "Role a", Permission: rbac.Permission{Verb: "patch", Resource: "events"}}}}, lines(get)); err == nil {
		t.Error("an exception without a reason was taken")
	}
	if err := report(t, Options{Grants: grants}, lines(get)).ErrPartly(); err != nil {
		t.Errorf("a part of the log does not show what is not used: %v", err)
	}
}

func TestWhatOfTheLogCounts(t *testing.T) {
	grants := []rbac.Grant{grant("R", "", "watch", "pods")}
	watch := request{verb: "watch", resource: "pods", id: "w"}
	start, received, old, denied := watch, watch, watch, watch
	start.stage, received.stage = "ResponseStarted", "RequestReceived"
	received.id, old.id, denied.id = "r", "o", "d"
	old.at = began.Add(-time.Second)
	denied.decision, denied.code = "unknown", 401
	r := report(t, Options{Grants: grants, Since: began}, lines(start), lines(watch, received, old, denied))
	if r.Rows[0].Requests != 1 {
		t.Errorf("a watch that began and ended was counted %d times", r.Rows[0].Requests)
	}
	whole := new(bytes.Buffer)
	if _, err := io.Copy(whole, lines(watch)); err != nil {
		t.Fatal(err)
	}
	whole.WriteString(`{"kind":"Event","apiVer`)
	if err := report(t, Options{Grants: grants}, whole).Err(); err != nil {
		t.Errorf("a line that is being written: %v", err)
	}
	if _, err := Check(Options{Account: account, Grants: grants}, strings.NewReader("not an event\n")); err == nil {
		t.Error("a file that is no audit log was taken")
	}
}

// TestAnAuthorizerThatIsNotReady holds that what is granted and refused for a moment is shown, and is no finding.
func TestAnAuthorizerThatIsNotReady(t *testing.T) {
	get := request{verb: "get", resource: "pods", namespace: "shop", name: "p"}
	refused := get
	refused.decision, refused.code = "forbid", 403
	r := report(t, Options{Grants: []rbac.Grant{grant("Role a", "shop", "get", "pods")}}, lines(refused, get))
	if err := r.Err(); err != nil || len(r.Hiccups) != 1 || r.Rows[0].Requests != 1 {
		t.Errorf("got %v, %+v", err, r)
	}
}

func TestTheTableShowsEverything(t *testing.T) {
	grants := []rbac.Grant{grant("Role a", "shop", "get", "pods"), grant("Role a", "shop", "list", "pods")}
	r := report(t, Options{Grants: grants}, lines(
		request{verb: "get", resource: "pods", namespace: "shop", name: "p"},
		request{verb: "get", resource: "secrets", namespace: "shop", name: "s", decision: "forbid", code: 403},
		request{verb: "get", resource: "nodes", name: "n"},
	))
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NEVER USED", "REFUSED", "NOT GRANTED BY THE INSTALLATION: because", "get secrets named s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestPolicyIsForTheUsersAlone(t *testing.T) {
	got := Policy(me)
	if !strings.Contains(got, `- "`+me+`"`) || !strings.HasSuffix(got, "- level: None\n") || strings.Contains(got, "Request\n") {
		t.Errorf("got\n%s", got)
	}
}
