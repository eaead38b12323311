package controller_test

import (
	"maps"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// path is something that happens to a cluster and what is there once the operator is through with it.
type path struct {
	// before prepares a cluster, event begins the path, and done says whether it has ended.
	before func(w *world)
	event  func(w *world)
	done   func(w *world) bool
	// besides, if set, is what others do in every round of the path.
	besides func(w *world)
}

// paths are all ways that a reconcile goes.
func paths() map[string]path {
	out := map[string]path{
		"create one": {
			event: func(w *world) { w.create(instances(1)) },
			done:  func(w *world) bool { return w.healthy("db-0")() },
		},
		"create three": {
			event: func(w *world) { w.create(instances(3)) },
			done:  func(w *world) bool { return w.healthy("db-0")() && len(w.record().Voters) == 3 },
		},
		"scale out": {
			before: func(w *world) { w.seed(1, nil) },
			event:  func(w *world) { w.edit(instances(3)) },
			done:   func(w *world) bool { return w.healthy("db-0")() && len(w.record().Voters) == 3 },
		},
		"scale in": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.edit(instances(1)) },
			done:   func(w *world) bool { return w.healthy("db-0")() && len(w.podUIDs()) == 1 },
		},
		"failover to itself": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.agents.kill("db-0") },
			done:   func(w *world) bool { return w.record().Epoch == 2 && w.healthy("db-0")() },
		},
		"failover to another": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.agents.down("db-0") },
			done:   func(w *world) bool { return w.record().Epoch == 2 && w.healthy("db-1")() },
			// The old primary comes back when it is none any more.
			besides: func(w *world) {
				if w.agents.serving("db-1") {
					w.agents.up("db-0")
				}
			},
		},
		"switchover": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.annotate(v1alpha1.AnnotationSwitchover, "db-1") },
			done:   func(w *world) bool { return w.healthy("db-1")() && w.answered(v1alpha1.AnnotationSwitchover) },
		},
		"switchover to any": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.annotate(v1alpha1.AnnotationSwitchover, v1alpha1.SwitchoverAny) },
			done: func(w *world) bool {
				return w.record().Epoch > 1 && w.healthy("")() && w.answered(v1alpha1.AnnotationSwitchover)
			},
		},
		"take-over": {
			before: func(w *world) {
				w.seed(3, nil)
				w.commit(ac.Record().WithTerm(int64(w.term)).WithEpoch(1).WithPrimary("db-0").WithVoters("db-0", "db-1", "db-2"))
				w.settle()
			},
			event: func(*world) {},
			done:  func(w *world) bool { return w.healthy("db-0")() && w.record().Term == w.term },
		},
	}
	maps.Copy(out, changes())
	maps.Copy(out, endings())
	maps.Copy(out, backups())
	maps.Copy(out, drills())
	return out
}

// changes are the paths of a changed specification or of changed data.
func changes() map[string]path {
	three := func(w *world) { w.seed(3, nil); w.agents.write("db-0") }
	return map[string]path{
		"roll": {
			before: three,
			event: func(w *world) {
				w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Image = "registry.example.com/mysql:9.7.2" })
			},
			done: func(w *world) bool { return w.healthy("")() && w.record().Epoch == 2 },
		},
		"dynamic configuration": {
			before: three,
			event:  func(w *world) { w.configure("max_connections", "200") },
			done:   func(w *world) bool { return w.healthy("db-0")() && w.agents.all3("max_connections", "200") },
		},
		"configuration with a restart": {
			before: three,
			event:  func(w *world) { w.configure(needsRestart, "200") },
			done:   func(w *world) bool { return w.healthy("")() && w.agents.all3(needsRestart, "200") },
		},
		"users": {
			before: three,
			event: func(w *world) {
				w.edit(func(c *v1alpha1.MySQLCluster) {
					c.Spec.Users = []v1alpha1.User{{Name: "shop", Database: "shop", Access: v1alpha1.AccessReadWrite}}
				})
			},
			done: func(w *world) bool { return w.healthy("db-0")() && w.agents.has("db-0", "shop") },
		},
		"users Secret": {
			before: three,
			event: func(w *world) {
				w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.UsersSecret = &v1alpha1.SecretReference{Name: "others"} })
			},
			done: func(w *world) bool { return w.healthy("")() && w.record().Epoch == 2 },
		},
		"errant": {
			before: three,
			event:  func(w *world) { w.agents.write("db-2") },
			done: func(w *world) bool {
				return w.healthy("db-0")() && len(w.record().Voters) == 3 && w.agents.together()
			},
		},
		"forced promotion": {
			before: func(w *world) {
				three(w)
				for _, pod := range []string{"db-0", "db-1"} {
					w.agents.down(pod)
				}
			},
			event: func(w *world) { w.annotate(v1alpha1.AnnotationForcePromote, "db-2") },
			done:  func(w *world) bool { return w.healthy("db-2")() && len(w.record().Voters) == 3 },
			// The others come back when the cluster goes on without them.
			besides: func(w *world) {
				if w.agents.serving("db-2") && w.answered(v1alpha1.AnnotationForcePromote) {
					for _, pod := range []string{"db-0", "db-1"} {
						w.agents.up(pod)
					}
				}
			},
		},
	}
}

// endings are the paths that delete a cluster, and the one that finds what was kept.
func endings() map[string]path {
	gone := func(policy v1alpha1.DeletionPolicy) path {
		return path{
			before: func(w *world) { w.seed(3, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = policy }) },
			event:  func(w *world) { w.delete() },
			done:   func(w *world) bool { return w.find() == nil },
		}
	}
	return map[string]path{
		"deletion that retains": gone(v1alpha1.DeletionRetain),
		"deletion of all":       gone(v1alpha1.DeletionDelete),
		"adoption": {
			before: func(w *world) {
				w.seed(3, nil)
				w.agents.write("db-0")
				w.settle()
				w.delete()
				w.until("release", func() bool { return w.find() == nil })
				w.collect()
				// Timestamps of objects have a resolution of one second.
				time.Sleep(max(0, time.Until(w.claimedAt().Add(time.Second))))
			},
			event: func(w *world) { w.create(instances(3)) },
			done:  func(w *world) bool { return w.healthy("")() && len(w.record().Voters) == 3 },
		},
	}
}

func (w *world) delete() {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), w.cluster()); err != nil {
		w.t.Fatalf("delete the cluster: %v", err)
	}
}

func (w *world) configure(option, value string) {
	w.t.Helper()
	w.edit(func(c *v1alpha1.MySQLCluster) {
		c.Spec.Configuration = v1alpha1.Configuration{option: v1alpha1.OptionValue(value)}
	})
}

// answered says whether a request was taken off the custom resource.
func (w *world) answered(annotation string) bool {
	w.t.Helper()
	c := w.find()
	return c != nil && c.Annotations[annotation] == ""
}

// needsRestart is an option that the simulated mysqld takes only when it is started.
const needsRestart = "back_log"

// all3 says whether three instances run with an option.
func (s *agents) all3(option, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.all {
		if a.config[option] == value {
			n++
		}
	}
	return n == 3
}

// has says whether an instance has a user.
func (s *agents) has(pod, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.all[pod].users, user)
}

// down ends mysqld for longer, and up starts it again.
func (s *agents) down(pod string) {
	s.with(pod, func(a *agent) { a.restart(); a.state = instance.StateDown })
}

func (s *agents) up(pod string) { s.with(pod, func(a *agent) { a.state = instance.StateRunning }) }

// serving says whether an instance takes writes.
func (s *agents) serving(pod string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[pod].serving
}

// together says whether all instances hold the same.
func (s *agents) together() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		for _, b := range s.all {
			if !a.held.Contains(b.held) {
				return false
			}
		}
	}
	return true
}
