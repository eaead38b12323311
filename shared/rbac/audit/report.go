package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kapok-operators/kapok/shared/rbac"
)

// Verdict says what the log tells of a granted permission.
type Verdict string

// The verdicts.
const (
	// Used: the log shows it.
	Used Verdict = "used"
	// Excused: it was not used, and an exception says why it is needed.
	Excused Verdict = "excused"
	// Unused: it was never used; it should not be granted.
	Unused Verdict = "NEVER USED"
	// Stale: an exception says that it cannot be seen, and it was.
	Stale Verdict = "USED, ALTHOUGH EXCUSED"
	// Pointless: an exception for what nothing grants.
	Pointless Verdict = "EXCUSED, BUT NOT GRANTED"
)

// Row is one permission of a role. Roles of one name in several namespaces are
// one: they are copies.
type Row struct {
	Role       string
	Permission rbac.Permission
	// Namespaces in which it is granted; none means all.
	Namespaces []string
	// Requests that took it.
	Requests int
	Verdict  Verdict
	// Why is the reason of an exception.
	Why string
}

// Finding is something that was asked for without being granted.
type Finding struct {
	Permission rbac.Permission
	Namespace  string
	Requests   int
	// First is when it was asked for first, Agent who asked, Reason what the authorizer said.
	First         time.Time
	Agent, Reason string
}

// Report is what a log says about an account's permissions.
type Report struct {
	// Requests of the account that were looked at.
	Requests int
	// Rows are all granted permissions.
	Rows []Row
	// Refused are requests that were not allowed: something is missing.
	Refused []Finding
	// Foreign are requests that something else than the installation allows:
	// elsewhere they would be refused.
	Foreign []Finding
	// Hiccups are requests that were not allowed although the installation
	// grants them: the authorizer did not know the roles at that moment, as
	// after a start of the API server. They say nothing about the roles.
	Hiccups []Finding
}

func (c *checker) report() *Report {
	out := &Report{Requests: c.requests, Refused: sorted(c.refused), Foreign: sorted(c.foreign), Hiccups: sorted(c.hiccups)}
	for i, grant := range c.opts.Grants {
		at := slices.IndexFunc(out.Rows, func(r Row) bool { return r.Role == grant.Role && r.Permission == grant.Permission })
		if at < 0 {
			at = len(out.Rows)
			out.Rows = append(out.Rows, Row{Role: grant.Role, Permission: grant.Permission})
		}
		row := &out.Rows[at]
		row.Requests += c.used[i]
		if grant.Namespace != "" && !slices.Contains(row.Namespaces, grant.Namespace) {
			row.Namespaces = append(row.Namespaces, grant.Namespace)
		}
	}
	for i := range out.Rows {
		row := &out.Rows[i]
		row.Verdict = Unused
		if row.Requests > 0 {
			row.Verdict = Used
		}
	}
	for _, r := range c.opts.Rare {
		at := slices.IndexFunc(out.Rows, func(row Row) bool { return row.Role == r.Role && row.Permission == r.Permission })
		switch {
		case at < 0:
			out.Rows = append(out.Rows, Row{Role: r.Role, Permission: r.Permission, Verdict: Pointless, Why: r.Why})
		case out.Rows[at].Requests > 0 && !r.Sometimes:
			out.Rows[at].Verdict, out.Rows[at].Why = Stale, r.Why
		case out.Rows[at].Requests == 0:
			out.Rows[at].Verdict, out.Rows[at].Why = Excused, r.Why
		}
	}
	slices.SortFunc(out.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), rbac.Compare(a.Permission, b.Permission))
	})
	return out
}

func sorted(found map[use]*Finding) []Finding {
	out := make([]Finding, 0, len(found))
	for f := range maps.Values(found) {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(rbac.Compare(a.Permission, b.Permission), cmp.Compare(a.Namespace, b.Namespace))
	})
	return out
}

// Err lists everything that is wrong, or returns nil. A log without a single
// request proves nothing and is wrong as well.
func (r *Report) Err() error { return r.err(true) }

// ErrPartly is Err for a log of a part of an operator's life: what was not used
// may be used in the rest.
func (r *Report) ErrPartly() error { return r.err(false) }

func (r *Report) err(whole bool) error {
	var problems []error
	if r.Requests == 0 {
		problems = append(problems, errors.New("the audit log holds no request of the account"))
	}
	for _, f := range r.Refused {
		problems = append(problems, fmt.Errorf("refused %d times, first at %s: %s%s (%s)", f.Requests, f.First.UTC().Format(time.RFC3339), f.Permission, in(f.Namespace), f.Agent))
	}
	for _, f := range r.Foreign {
		problems = append(problems, fmt.Errorf("allowed by something else than the installation, %d times: %s%s (%s)", f.Requests, f.Permission, in(f.Namespace), f.Reason))
	}
	for _, row := range r.Rows {
		switch {
		case row.Verdict == Unused && whole:
			problems = append(problems, fmt.Errorf("%s grants what was never used: %s", row.Role, row.Permission))
		case row.Verdict == Stale:
			problems = append(problems, fmt.Errorf("the exception for %s, %s has rotted: it was used %d times; remove it", row.Role, row.Permission, row.Requests))
		case row.Verdict == Pointless:
			problems = append(problems, fmt.Errorf("the exception for %s, %s has rotted: nothing grants it; remove it", row.Role, row.Permission))
		}
	}
	return errors.Join(problems...)
}

func in(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// Write prints the report as a table for people.
func (r *Report) Write(to io.Writer) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	var b strings.Builder
	b.WriteString("ROLE\tPERMISSION\tWHERE\tREQUESTS\tVERDICT\n")
	for _, row := range r.Rows {
		where := strings.Join(row.Namespaces, ",")
		if where == "" {
			where = "all"
		}
		verdict := string(row.Verdict)
		if row.Why != "" {
			verdict += ": " + row.Why
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%d\t%s\n", row.Role, row.Permission, where, row.Requests, verdict)
	}
	for _, f := range r.Refused {
		fmt.Fprintf(&b, "-\t%s\t%s\t%d\tREFUSED\n", f.Permission, f.Namespace, f.Requests)
	}
	for _, f := range r.Foreign {
		fmt.Fprintf(&b, "-\t%s\t%s\t%d\tNOT GRANTED BY THE INSTALLATION: %s\n", f.Permission, f.Namespace, f.Requests, f.Reason)
	}
	for _, f := range r.Hiccups {
		fmt.Fprintf(&b, "-\t%s\t%s\t%d\trefused although granted, first at %s: %s\n", f.Permission, f.Namespace, f.Requests, f.First.UTC().Format(time.RFC3339), f.Reason)
	}
	if _, err := io.WriteString(table, b.String()); err != nil {
		return err
	}
	return table.Flush()
}
