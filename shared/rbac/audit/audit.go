// Package audit proves from the audit log of an API server that an account was
// granted what it uses, and nothing else.
//
// The log needs the level Metadata for the account (Policy). Of a request it
// tells the verb, the object and whether it was allowed; not what was in it.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kapok-operators/kapok/shared/rbac"
)

// Decisions of the authorizer in an event's annotation.
const (
	decisionKey = "authorization.k8s.io/decision"
	reasonKey   = "authorization.k8s.io/reason"
	allow       = "allow"
	forbid      = "forbid"
)

// Rare is a permission that is needed and whose use the log cannot show, or
// that only a situation needs that was not met.
type Rare struct {
	// Role is the kind and name of the role that grants it.
	Role       string
	Permission rbac.Permission
	// Sometimes says that some runs use it and others do not, so that a use is
	// no finding. Another log has to prove that it is needed.
	Sometimes bool
	// Why it is needed, and why the log does not show it; required.
	Why string
}

// Options say what is checked against what.
type Options struct {
	// Account is the operator's ServiceAccount.
	Account types.NamespacedName
	// Grants are what the installation gives it.
	Grants []rbac.Grant
	// Rare excuses grants that are not used. An entry that was used, or that
	// nothing grants, is a finding.
	Rare []Rare
	// Since leaves out what was asked before.
	Since time.Time
}

// everybody is what Kubernetes lets every account do, by the roles
// system:basic-user, system:discovery, system:public-info-viewer and
// system:service-account-issuer-discovery that every cluster has:
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
var everybody = []rbac.Permission{
	{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
	{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	{Verb: "create", Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
	{Verb: "get", URL: "/api"}, {Verb: "get", URL: "/api/*"}, {Verb: "get", URL: "/apis"}, {Verb: "get", URL: "/apis/*"},
	{Verb: "get", URL: "/openapi"}, {Verb: "get", URL: "/openapi/*"},
	{Verb: "get", URL: "/version"}, {Verb: "get", URL: "/version/"},
	{Verb: "get", URL: "/healthz"}, {Verb: "get", URL: "/livez"}, {Verb: "get", URL: "/readyz"},
	{Verb: "get", URL: "/.well-known/openid-configuration"}, {Verb: "get", URL: "/.well-known/openid-configuration/"},
	{Verb: "get", URL: "/openid/v1/jwks"}, {Verb: "get", URL: "/openid/v1/jwks/"},
}

// use is one permission that a request took, in one place.
type use struct {
	rbac.Permission
	namespace string
	// implied: the request did not ask for it by name.
	implied bool
}

// Check reads the log, JSON lines, from all parts of it in any order.
func Check(opts Options, log ...io.Reader) (*Report, error) {
	for _, r := range opts.Rare {
		if r.Why == "" {
			return nil, fmt.Errorf("the exception for %s, %s gives no reason", r.Role, r.Permission)
		}
	}
	c := &checker{
		user:    "system:serviceaccount:" + opts.Account.Namespace + ":" + opts.Account.Name,
		opts:    opts,
		used:    make([]int, len(opts.Grants)),
		refused: map[use]*Finding{}, foreign: map[use]*Finding{}, hiccups: map[use]*Finding{}, seen: map[types.UID]struct{}{},
	}
	for i, part := range log {
		if err := c.read(part); err != nil {
			return nil, fmt.Errorf("read part %d of the audit log: %w", i+1, err)
		}
	}
	return c.report(), nil
}

type checker struct {
	user     string
	opts     Options
	requests int
	// used counts the requests of each grant.
	used                      []int
	refused, foreign, hiccups map[use]*Finding
	// seen are the requests that were counted: a watch is logged when it begins and when it ends.
	seen map[types.UID]struct{}
}

func (c *checker) read(part io.Reader) error {
	reader := bufio.NewReader(part)
	for n := 1; ; n++ {
		line, err := reader.ReadBytes('\n')
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		// A last line without its end is still being written.
		if ended {
			return nil
		}
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("line %d is not an audit event: %w", n, err)
		}
		if err := c.take(&event); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

func (c *checker) take(event *auditv1.Event) error {
	if event.User.Username != c.user || event.ImpersonatedUser != nil || event.Stage == auditv1.StageRequestReceived ||
		event.RequestReceivedTimestamp.Time.Before(c.opts.Since) {
		return nil
	}
	if _, again := c.seen[event.AuditID]; again {
		return nil
	}
	c.seen[event.AuditID] = struct{}{}
	uses, err := usesOf(event)
	if err != nil {
		return err
	}
	c.requests++
	switch event.Annotations[decisionKey] {
	case forbid:
		into := c.refused
		if len(c.narrowest(uses[0])) > 0 {
			into = c.hiccups
		}
		note(into, uses[0], event)
	case allow:
		for _, u := range uses {
			c.allowed(u, event)
		}
		// An object that is applied and does not exist takes a second permission, which is asked for after the first decision.
		// Any other patch that is forbidden was forbidden by an admission plugin.
		if u := uses[0]; isApply(event) && code(event) == http.StatusForbidden {
			u.Verb = "create"
			if len(c.narrowest(u)) == 0 {
				note(c.refused, u, event)
			}
		}
	}
	return nil
}

// isApply says whether a request is a server-side apply. The log does not tell the kind of a patch; only an apply may say
// whether it takes fields from others.
func isApply(event *auditv1.Event) bool {
	u, err := url.ParseRequestURI(event.RequestURI)
	return err == nil && event.Verb == "patch" && u.Query().Has("force")
}

// allowed counts a use for the grants that give it: the narrowest of them, so that a wide one is not thought to be used
// because of what a narrow one gives already.
func (c *checker) allowed(u use, event *auditv1.Event) {
	if slices.ContainsFunc(everybody, func(p rbac.Permission) bool { return p.Covers(u.Permission) }) {
		return
	}
	grants := c.narrowest(u)
	if len(grants) == 0 && !u.implied {
		note(c.foreign, u, event)
	}
	for _, i := range grants {
		c.used[i]++
	}
}

func (c *checker) narrowest(u use) []int {
	var out []int
	best := -1
	for i, grant := range c.opts.Grants {
		if grant.Namespace != "" && grant.Namespace != u.namespace || !grant.Covers(u.Permission) {
			continue
		}
		narrow := 0
		if grant.Namespace != "" {
			narrow++
		}
		if grant.Name != "" {
			narrow += 2
		}
		if narrow > best {
			best, out = narrow, nil
		}
		if narrow == best {
			out = append(out, i)
		}
	}
	return out
}

// usesOf returns the permissions that a request takes; the first is the one that it asks for.
func usesOf(event *auditv1.Event) ([]use, error) {
	uri, err := url.Parse(event.RequestURI)
	if err != nil {
		return nil, fmt.Errorf("its address: %w", err)
	}
	ref := event.ObjectRef
	if ref == nil {
		return []use{{Permission: rbac.Permission{Verb: event.Verb, URL: uri.Path}}}, nil
	}
	first := use{namespace: ref.Namespace,
		Permission: rbac.Permission{Verb: event.Verb, Group: ref.APIGroup, Resource: ref.Resource, Name: ref.Name}}
	if ref.Subresource != "" {
		first.Resource += "/" + ref.Subresource
	}
	out := []use{first}
	also := func(verb string) {
		more := first
		more.Verb, more.implied = verb, true
		out = append(out, more)
	}
	switch {
	case event.Verb == "watch" && streams(uri):
		// A list that comes as a watch. A server that does not stream lists is asked for the list instead.
		also("list")
	case event.Verb == "patch" && code(event) == http.StatusCreated:
		also("create")
	}
	return out, nil
}

func streams(uri *url.URL) bool {
	yes, err := strconv.ParseBool(uri.Query().Get("sendInitialEvents"))
	return err == nil && yes
}

func code(event *auditv1.Event) int {
	if event.ResponseStatus == nil {
		return 0
	}
	return int(event.ResponseStatus.Code)
}

// note counts a finding, one for each kind of object and namespace.
func note(into map[use]*Finding, u use, event *auditv1.Event) {
	found := into[u]
	if found == nil {
		found = &Finding{Permission: u.Permission, Namespace: u.namespace, Reason: strings.TrimSpace(event.Annotations[reasonKey]),
			First: event.RequestReceivedTimestamp.Time, Agent: event.UserAgent}
		into[u] = found
	}
	found.Requests++
}
