package model

import "time"

// gracePeriod is how long a pod may take to stop.
const gracePeriod = 30 * time.Second

// Terminate asks the pod to stop.
func (m *Member) Terminate() {
	if m.Pod && !m.Terminating {
		m.Terminating, m.TerminatingAt = true, m.world.Now
		m.world.note("%s: pod is asked to stop", m.Name)
	}
}

// Kubernetes brings the pods to what the StatefulSet says: all missing ones are made, those beyond the count are asked
// to stop, and those that were asked end: a replica at once, a primary when it is relieved or its grace period is over.
func (w *World) Kubernetes() {
	for _, m := range w.Members {
		if m.Pod && m.Ordinal >= w.Store.Pods {
			m.Terminate()
		}
		if m.Terminating && !m.Frozen && (!m.serving || w.Now-m.TerminatingAt >= gracePeriod) {
			m.StopPod()
		}
		if !m.Pod && m.Ordinal < w.Store.Pods {
			m.StartPod()
		}
	}
}

// replicaTimeout is how long a receiver waits for its source before it gives the connection up.
const replicaTimeout = 4 * time.Second

// Tick lets time pass.
func (w *World) Tick(d time.Duration) {
	w.Now += d
	for _, m := range w.Members {
		if !m.running() {
			continue
		}
		if m.live() != nil {
			m.heard = w.Now
		}
		if s := m.session; s != nil && (s.gone || w.Now-m.heard >= replicaTimeout) {
			m.leaveSession()
		}
		m.Guard()
	}
}
