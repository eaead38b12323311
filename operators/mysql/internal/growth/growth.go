// Package growth decides how large a volume claim is to be. It knows the claim and the last report of the instance on it, and
// nothing else: a full volume has to grow most of all while mysqld does not answer.
package growth

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// AnnotationGrownFrom is set on a claim when it is enlarged: the size of its file system at that time, in bytes, as the agent
// reported it. The next step waits until the agent reports a larger one. The claim alone does not tell: it has its new
// capacity a little before the agent says how much is free in it.
const AnnotationGrownFrom = v1alpha1.Group + "/grown-from"

// Verdict is what becomes of a claim.
type Verdict string

// The verdicts.
const (
	// Stays: it is as large as it is to be.
	Stays Verdict = "Stays"
	// Asked: spec.storage.size is larger than the claim.
	Asked Verdict = "Asked"
	// Step: it lacks free space and grows.
	Step Verdict = "Step"
	// Growing: it may lack free space, but is being enlarged already.
	Growing Verdict = "Growing"
	// AtLimit: it lacks free space and may not grow.
	AtLimit Verdict = "AtLimit"
	// Unheard: nobody says how full it is.
	Unheard Verdict = "Unheard"
)

// Input is what a decision rests on.
type Input struct {
	// Claim is the volume claim of an instance.
	Claim *corev1.PersistentVolumeClaim
	// Report is the instance's; nil if there is none or its agent is not connected.
	Report *instance.Report
	// Storage is what the user wants.
	Storage v1alpha1.Storage
}

// Decision is how large a claim is to be.
type Decision struct {
	Verdict Verdict
	// From is what the claim asks for, To what it is to ask for: never less.
	From, To resource.Quantity
	// Why is the reason, for people.
	Why string
	// GrownFrom is the value of AnnotationGrownFrom that goes with To; empty if there is none to set.
	GrownFrom string
}

// Enlarges says whether the claim is to be changed.
func (d Decision) Enlarges() bool { return d.Verdict == Asked || d.Verdict == Step }

// gib is what sizes are rounded up to, and the least that a step is worth.
const gib = 1 << 30

// Decide returns how large a claim is to be. A claim grows by one step at a time, and never shrinks.
func Decide(in Input) Decision {
	request := in.Claim.Spec.Resources.Requests[corev1.ResourceStorage]
	capacity := in.Claim.Status.Capacity[corev1.ResourceStorage]
	present := max(request.Value(), capacity.Value())
	grow := in.Storage.AutoGrow
	unchanged := func(v Verdict, why string, args ...any) Decision {
		return Decision{Verdict: v, From: request, To: request, Why: fmt.Sprintf(why, args...)}
	}
	enlarged := func(v Verdict, to resource.Quantity, why string) Decision {
		d := Decision{Verdict: v, From: request, To: to, Why: why}
		// The file system of a smaller step may look as large as before.
		if in.Report != nil && in.Report.Volume.Size > 0 && to.Value()-present >= gib {
			d.GrownFrom = strconv.FormatInt(in.Report.Volume.Size, 10)
		}
		return d
	}
	switch {
	case in.Storage.Size.Cmp(request) > 0:
		return enlarged(Asked, in.Storage.Size, "spec.storage.size asks for it")
	case grow == nil:
		return unchanged(Stays, "spec.storage.autoGrow is not set")
	case capacity.Cmp(request) < 0:
		return unchanged(Growing, "its volume of %s is being enlarged to %s", capacity.String(), request.String())
	case in.Report == nil || in.Report.Volume.Size <= 0:
		return unchanged(Unheard, "its agent does not say how full it is")
	case !lacking(*in.Report, grow.FreePercent):
		return unchanged(Stays, "at least %d%% of it is free", grow.FreePercent)
	case in.Report.Volume.Size <= grownFrom(in.Claim):
		return unchanged(Growing, "its file system has not become larger since the last step")
	}
	to, ok := step(present, grow)
	if !ok {
		return unchanged(AtLimit, "%s", atLimit(present, *in.Report, grow))
	}
	return enlarged(Step, *resource.NewQuantity(to, resource.BinarySI), fill(in.Report.Volume))
}

// lacking says whether less is free than is to be. A volume that refuses writes is full whatever its numbers say: they are
// those of a whole file system, and there are quotas.
func lacking(r instance.Report, freePercent int32) bool {
	return r.ProblemReason == instance.ProblemVolumeFull || r.Volume.Free < r.Volume.Size/100*int64(freePercent)
}

// grownFrom is the size of the file system before the last step; 0 if there was none. What somebody else has written there is
// no reason to let a volume run full.
func grownFrom(claim *corev1.PersistentVolumeClaim) int64 {
	size, err := strconv.ParseInt(claim.Annotations[AnnotationGrownFrom], 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// step is the next size; false if the limit leaves no room for one. A step that would leave less than another one's worth
// below the limit takes that too.
func step(present int64, grow *v1alpha1.AutoGrow) (int64, bool) {
	limit := grow.Limit.Value()
	if limit-present < gib {
		return present, false
	}
	to := present + max(present/100*int64(grow.StepPercent), gib)
	to = (to + gib - 1) / gib * gib
	if limit-to < gib {
		to = limit
	}
	return to, true
}

// fill says how full a volume is.
func fill(v instance.Volume) string {
	text := fmt.Sprintf("of %s %s are used", words(v.Size), words(v.Size-v.Free))
	if v.LogBytes == 0 {
		return text
	}
	return text + fmt.Sprintf(", %s of them by binary logs: lower binlog_expire_logs_seconds if that is not wanted", words(v.LogBytes))
}

// atLimit says what to do about a volume that may not grow. It holds no amounts that change as the volume fills: it stands in a
// status, which would be written all the time.
func atLimit(present int64, r instance.Report, grow *v1alpha1.AutoGrow) string {
	text := fmt.Sprintf("less than %d%% of its volume of %s is free, and spec.storage.autoGrow.limit is %s: raise the limit, or remove data",
		grow.FreePercent, resource.NewQuantity(present, resource.BinarySI), grow.Limit.String())
	if r.Volume.LogBytes > (r.Volume.Size-r.Volume.Free)/2 {
		text += "; most of it are binary logs: lower binlog_expire_logs_seconds if that is not wanted"
	}
	return text
}

// words is an amount for people.
func words(bytes int64) string {
	if bytes < gib {
		return fmt.Sprintf("%dMi", bytes>>20)
	}
	return strconv.FormatFloat(float64(bytes/(gib/10))/10, 'f', -1, 64) + "Gi"
}
