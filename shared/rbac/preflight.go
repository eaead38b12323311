package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
)

// atATime is how many questions are under way together.
const atATime = 8

// Need is a permission that an operator needs, and why.
type Need struct {
	Permission
	// Namespace in which it is needed; empty means all, and objects without one.
	Namespace string
	// For is what it is for, to follow "to": "run the instances".
	For string
	// Without is what is lost where it is not granted, for one that is not
	// strictly needed: "no events are recorded". Empty: the operator cannot work.
	Without string
	// From says which role and which file grant it.
	From string
}

// Definition is a custom resource that an operator works on.
type Definition struct {
	schema.GroupVersionResource
	// Install says how it is installed.
	Install string
}

// Preflight asks the API server whether an operator has what it needs. Every
// account may ask about itself; no permission is needed for it.
type Preflight struct {
	// Client asks as the operator.
	Client kubernetes.Interface
	// Needs are the permissions to ask about.
	Needs []Need
	// Definitions are looked for.
	Definitions []Definition
}

// Findings are what a preflight found missing.
type Findings struct {
	// Missing are needs without which the operator cannot work.
	Missing []Need
	// Lacking are needs without which it works less well.
	Lacking []Need
	// Undefined are definitions that are not installed.
	Undefined []Definition
}

// Run asks. An error says that an answer could not be had, which tells nothing
// about the permissions; what was found until then is not returned.
func (p *Preflight) Run(ctx context.Context) (Findings, error) {
	var out Findings
	for _, definition := range p.Definitions {
		served, err := p.served(ctx, definition)
		if err != nil {
			return Findings{}, err
		}
		if !served {
			out.Undefined = append(out.Undefined, definition)
		}
	}
	unsure, err := p.unlisted(ctx)
	if err != nil {
		return Findings{}, err
	}
	refused := make([]bool, len(unsure))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atATime)
	for i, need := range unsure {
		group.Go(func() error {
			allowed, err := p.allowed(ctx, need)
			refused[i] = !allowed
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Findings{}, err
	}
	for i, need := range unsure {
		switch {
		case !refused[i]:
		case need.Without != "":
			out.Lacking = append(out.Lacking, need)
		default:
			out.Missing = append(out.Missing, need)
		}
	}
	return out, nil
}

// served says whether the API server knows the resource.
func (p *Preflight) served(ctx context.Context, d Definition) (bool, error) {
	var list metav1.APIResourceList
	err := p.Client.Discovery().RESTClient().Get().AbsPath("/apis", d.Group, d.Version).Do(ctx).Into(&list)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the resources of %s: %w", d.GroupVersion(), err)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == d.Resource }), nil
}

// unlisted returns the needs that the list of the account's rules does not
// cover. One question answers for a whole namespace, but such a list may be
// incomplete, so that what it lacks is asked about one by one. For all
// namespaces together there is no list.
func (p *Preflight) unlisted(ctx context.Context) ([]Need, error) {
	lists := map[string][]Permission{"": nil}
	var out []Need
	for _, need := range p.Needs {
		list, known := lists[need.Namespace]
		if !known {
			var err error
			if list, err = p.list(ctx, need.Namespace); err != nil {
				return nil, err
			}
			lists[need.Namespace] = list
		}
		if !slices.ContainsFunc(list, func(have Permission) bool { return have.Covers(need.Permission) }) {
			out = append(out, need)
		}
	}
	return out, nil
}

func (p *Preflight) list(ctx context.Context, namespace string) ([]Permission, error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	answer, err := p.Client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask for the permissions in namespace %s: %w", namespace, err)
	}
	rules := make([]rbacv1.PolicyRule, 0, len(answer.Status.ResourceRules))
	for _, rule := range answer.Status.ResourceRules {
		rules = append(rules, rbacv1.PolicyRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
	}
	return PermissionsOf(rules), nil
}

func (p *Preflight) allowed(ctx context.Context, need Need) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if need.URL != "" {
		review.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Verb: need.Verb, Path: need.URL}
	} else {
		resource, sub, _ := strings.Cut(need.Resource, "/")
		review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: need.Namespace, Verb: need.Verb,
			Group: need.Group, Resource: resource, Subresource: sub, Name: need.Name}
	}
	answer, err := p.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether it may %s: %w", need, err)
	}
	if !answer.Status.Allowed && answer.Status.EvaluationError != "" {
		// Nobody said no: an authorizer could not be asked.
		return false, fmt.Errorf("ask whether it may %s: %w", need, errors.New(answer.Status.EvaluationError))
	}
	return answer.Status.Allowed, nil
}

// Err returns an error that lists everything without which the operator cannot
// work, or nil.
func (f Findings) Err() error {
	var lines []string
	for _, d := range f.Undefined {
		lines = append(lines, d.Sentence())
	}
	for _, gap := range Gaps(f.Missing) {
		lines = append(lines, gap.Sentence())
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New("the operator cannot work here:\n- " + strings.Join(lines, "\n- "))
}

// Sentence says that the definition is missing, and how to install it.
func (d Definition) Sentence() string {
	return fmt.Sprintf("the custom resource definition %s.%s is not installed, or does not serve version %s; a cluster administrator installs it: %s",
		d.Resource, d.Group, d.Version, d.Install)
}

// Gap is what is missing of one kind of object in one place: needs that differ
// in the verb alone.
type Gap struct {
	// Need has the first verb.
	Need
	// Verbs are all of them.
	Verbs []string
}

// Gaps puts needs together that differ in the verb alone.
func Gaps(needs []Need) []Gap {
	var out []Gap
	for _, need := range needs {
		i := slices.IndexFunc(out, func(g Gap) bool {
			same := g.Need
			same.Verb = need.Verb
			return same == need
		})
		if i < 0 {
			out = append(out, Gap{Need: need})
			i = len(out) - 1
		}
		out[i].Verbs = append(out[i].Verbs, need.Verb)
	}
	return out
}

// Sentence says what is missing where, what for, and what grants it.
func (g Gap) Sentence() string {
	where := "in all namespaces"
	if g.Namespace != "" {
		where = "in namespace " + g.Namespace
	}
	permission := g.Permission
	permission.Verb = strings.Join(g.Verbs, ", ")
	out := fmt.Sprintf("%s it may not %s, which it needs to %s; granted by %s", where, permission, g.For, g.From)
	if g.Without != "" {
		out += "; without it " + g.Without
	}
	return out
}
