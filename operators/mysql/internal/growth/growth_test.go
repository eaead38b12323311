package growth

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// claim is one that asks for a size and has a capacity.
func claim(request, capacity string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(request)},
		}},
		Status: corev1.PersistentVolumeClaimStatus{Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}},
	}
}

// storage is what a user wants, with the defaults of the API.
func storage(size, limit string) v1alpha1.Storage {
	return v1alpha1.Storage{Size: resource.MustParse(size),
		AutoGrow: &v1alpha1.AutoGrow{Limit: resource.MustParse(limit), FreePercent: 20, StepPercent: 25}}
}

// filled is the report of an instance whose volume has so many tenths of a GiB, and so many free.
func filled(size, free int64) *instance.Report {
	return &instance.Report{State: instance.StateRunning, Volume: instance.Volume{Size: size * gib / 10, Free: free * gib / 10}}
}

func TestDecide(t *testing.T) {
	for name, test := range map[string]struct {
		claim   *corev1.PersistentVolumeClaim
		report  *instance.Report
		storage v1alpha1.Storage
		change  func(in *Input)
		verdict Verdict
		to      string
		why     string
	}{
		"enough is free":                       {claim("10Gi", "10Gi"), filled(98, 50), storage("10Gi", "100Gi"), nil, Stays, "10Gi", "at least 20%"},
		"just enough is free":                  {claim("10Gi", "10Gi"), filled(100, 20), storage("10Gi", "100Gi"), nil, Stays, "10Gi", "at least 20%"},
		"a little too little is free":          {claim("10Gi", "10Gi"), filled(100, 19), storage("10Gi", "100Gi"), nil, Step, "13Gi", "of 10Gi 8.1Gi are used"},
		"almost nothing is free":               {claim("10Gi", "10Gi"), filled(100, 0), storage("10Gi", "100Gi"), nil, Step, "13Gi", "of 10Gi 10Gi are used"},
		"another share is to be free":          {claim("10Gi", "10Gi"), filled(100, 49), storage("10Gi", "100Gi"), func(in *Input) { in.Storage.AutoGrow.FreePercent = 50 }, Step, "13Gi", "5.1Gi"},
		"it is full and mysqld does not run":   {claim("10Gi", "10Gi"), filled(100, 0), storage("10Gi", "100Gi"), func(in *Input) { in.Report.State, in.Report.Stalled = instance.StateDown, true }, Step, "13Gi", ""},
		"it refuses writes with room":          {claim("10Gi", "10Gi"), filled(100, 50), storage("10Gi", "100Gi"), func(in *Input) { in.Report.ProblemReason = instance.ProblemVolumeFull }, Step, "13Gi", "5Gi are used"},
		"the binary log fills it":              {claim("10Gi", "10Gi"), filled(100, 16), storage("10Gi", "100Gi"), func(in *Input) { in.Report.Volume.LogBytes = 51 * gib / 10 }, Step, "13Gi", "of 10Gi 8.4Gi are used, 5.1Gi of them by binary logs: lower binlog_expire_logs_seconds"},
		"it is small":                          {claim("1Gi", "1Gi"), filled(9, 1), storage("1Gi", "100Gi"), nil, Step, "2Gi", "of 921Mi 819Mi are used"},
		"a step is at least 1 GiB":             {claim("1536Mi", "1536Mi"), filled(15, 1), storage("1Gi", "100Gi"), func(in *Input) { in.Storage.AutoGrow.StepPercent = 10 }, Step, "3Gi", ""},
		"a step doubles it":                    {claim("10Gi", "10Gi"), filled(100, 1), storage("10Gi", "100Gi"), func(in *Input) { in.Storage.AutoGrow.StepPercent = 100 }, Step, "20Gi", ""},
		"a step ends at the limit":             {claim("10Gi", "10Gi"), filled(100, 1), storage("10Gi", "12Gi"), nil, Step, "12Gi", ""},
		"a step takes a crumb below the limit": {claim("10Gi", "10Gi"), filled(100, 1), storage("10Gi", "13900Mi"), nil, Step, "13900Mi", ""},
		"a limit in decimal units":             {claim("10Gi", "10Gi"), filled(100, 1), storage("10Gi", "12G"), nil, Step, "12000000000", ""},
		"it is at the limit":                   {claim("20Gi", "20Gi"), filled(200, 1), storage("10Gi", "20Gi"), nil, AtLimit, "20Gi", "its volume of 20Gi is free, and spec.storage.autoGrow.limit is 20Gi: raise the limit"},
		"it is at the limit, full of logs":     {claim("20Gi", "20Gi"), filled(200, 10), storage("10Gi", "20Gi"), func(in *Input) { in.Report.Volume.LogBytes = 10 * gib }, AtLimit, "20Gi", "binlog_expire_logs_seconds"},
		"it is almost at the limit":            {claim("20Gi", "20Gi"), filled(200, 1), storage("10Gi", "20.9Gi"), nil, AtLimit, "20Gi", "raise the limit"},
		"it is at the limit and has room":      {claim("20Gi", "20Gi"), filled(200, 100), storage("10Gi", "20Gi"), nil, Stays, "20Gi", ""},
		"the limit was lowered":                {claim("20Gi", "20Gi"), filled(200, 1), storage("10Gi", "15Gi"), nil, AtLimit, "20Gi", ""},
		"autoGrow was taken out":               {claim("20Gi", "20Gi"), filled(200, 1), storage("10Gi", "20Gi"), func(in *Input) { in.Storage.AutoGrow = nil }, Stays, "20Gi", "autoGrow is not set"},
		"size was raised":                      {claim("10Gi", "10Gi"), filled(100, 90), storage("50Gi", "100Gi"), nil, Asked, "50Gi", "spec.storage.size"},
		"size was raised, without autoGrow":    {claim("10Gi", "10Gi"), nil, storage("50Gi", "100Gi"), func(in *Input) { in.Storage.AutoGrow = nil }, Asked, "50Gi", "spec.storage.size"},
		"size was raised while it grows":       {claim("13Gi", "10Gi"), filled(100, 1), storage("50Gi", "100Gi"), nil, Asked, "50Gi", ""},
		"size is below what has grown":         {claim("30Gi", "30Gi"), filled(300, 200), storage("20Gi", "100Gi"), nil, Stays, "30Gi", ""},
		"it is being enlarged":                 {claim("13Gi", "10Gi"), filled(100, 0), storage("10Gi", "100Gi"), nil, Growing, "13Gi", "of 10Gi is being enlarged to 13Gi"},
		"its file system is the old one": {claim("13Gi", "13Gi"), filled(100, 0), storage("10Gi", "100Gi"), func(in *Input) {
			in.Claim.Annotations = map[string]string{AnnotationGrownFrom: fmt.Sprint(10 * gib)}
		}, Growing, "13Gi", "file system"},
		"its file system has grown": {claim("13Gi", "13Gi"), filled(130, 10), storage("10Gi", "100Gi"), func(in *Input) {
			in.Claim.Annotations = map[string]string{AnnotationGrownFrom: fmt.Sprint(10 * gib)}
		}, Step, "17Gi", ""},
		"somebody wrote a word there": {claim("13Gi", "13Gi"), filled(130, 10), storage("10Gi", "100Gi"), func(in *Input) {
			in.Claim.Annotations = map[string]string{AnnotationGrownFrom: "small"}
		}, Step, "17Gi", ""},
		"the volume is larger than asked for": {claim("10Gi", "16Gi"), filled(160, 1), storage("10Gi", "100Gi"), nil, Step, "20Gi", ""},
		"it is larger than the limit":         {claim("10Gi", "16Gi"), filled(160, 1), storage("10Gi", "12Gi"), nil, AtLimit, "10Gi", "its volume of 16Gi"},
		"its agent is not heard":              {claim("10Gi", "10Gi"), nil, storage("10Gi", "100Gi"), nil, Unheard, "10Gi", "agent"},
		"its agent has not looked yet":        {claim("10Gi", "10Gi"), filled(0, 0), storage("10Gi", "100Gi"), nil, Unheard, "10Gi", "agent"},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Claim: test.claim, Report: test.report, Storage: test.storage}
			if test.change != nil {
				test.change(&in)
			}
			got := Decide(in)
			if got.Verdict != test.verdict || got.To.Cmp(resource.MustParse(test.to)) != 0 || !strings.Contains(got.Why, test.why) {
				t.Errorf("%s to %s because %q, want %s to %s because %q", got.Verdict, got.To.String(), got.Why, test.verdict, test.to, test.why)
			}
			if from := in.Claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.From.Cmp(from) != 0 || got.Enlarges() != (got.To.Cmp(from) > 0) {
				t.Errorf("from %s to %s, and it enlarges: %t", got.From.String(), got.To.String(), got.Enlarges())
			}
		})
	}
}

// TestTheReasonAtTheLimitIsSteady: it stands in a status, which is not to be written whenever a little more is used.
func TestTheReasonAtTheLimitIsSteady(t *testing.T) {
	said := map[string]bool{}
	for free := range int64(40) {
		said[Decide(Input{Claim: claim("20Gi", "20Gi"), Report: filled(200, free), Storage: storage("10Gi", "20Gi")}).Why] = true
	}
	if len(said) != 1 {
		t.Errorf("%d different reasons: %v", len(said), said)
	}
}

// world is one volume with a storage system that takes its time.
type world struct {
	*testing.T
	claim     *corev1.PersistentVolumeClaim
	storage   v1alpha1.Storage
	system    int64 // the size of the file system
	used      int64
	seen      instance.Volume // what the agent reported last
	pending   int             // the rounds until the storage system has done it
	steps     int
	overheads int64 // what the file system itself takes, in thousandths
}

// round lets the operator decide once and the storage system work.
func (w *world) round() {
	before := w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	capacity := w.claim.Status.Capacity[corev1.ResourceStorage]
	d := Decide(Input{Claim: w.claim, Report: &instance.Report{Volume: w.seen}, Storage: w.storage})
	if d.Enlarges() {
		limit := w.storage.AutoGrow.Limit.Value()
		switch {
		case d.To.Value()-max(before.Value(), capacity.Value()) < gib:
			w.Fatalf("a step from %s to %s: less than 1 GiB", before.String(), d.To.String())
		case d.To.Value() > limit:
			w.Fatalf("a step to %s, beyond the limit of %d", d.To.String(), limit)
		case d.To.Value() != limit && d.To.Value()%gib != 0:
			w.Fatalf("a step to %s, which is no whole GiB", d.To.String())
		case capacity.Cmp(before) < 0:
			w.Fatalf("a step from %s to %s while the volume has %s", before.String(), d.To.String(), capacity.String())
		case w.system < capacity.Value()/1000*(1000-w.overheads):
			w.Fatalf("a step from %s to %s while the file system has %d", before.String(), d.To.String(), w.system)
		case w.seen.Free*100 >= w.seen.Size*int64(w.storage.AutoGrow.FreePercent):
			w.Fatalf("a step from %s to %s with %+v", before.String(), d.To.String(), w.seen)
		}
		w.claim.Spec.Resources.Requests[corev1.ResourceStorage] = d.To
		metav1.SetMetaDataAnnotation(&w.claim.ObjectMeta, AnnotationGrownFrom, d.GrownFrom)
		w.steps++
		w.pending = 5
	}
	switch w.pending {
	case 3:
		// The claim has its capacity before the file system does, and the agent sees that last.
		w.claim.Status.Capacity = w.claim.Spec.Resources.Requests.DeepCopy()
	case 2:
		request := w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
		w.system = request.Value() / 1000 * (1000 - w.overheads)
	case 1:
		w.look()
	}
	if w.pending > 0 {
		w.pending--
	} else {
		w.look()
	}
}

const grain = 64 << 20

// look is what the agent does.
func (w *world) look() {
	w.seen = instance.Volume{Size: w.system / grain * grain, Free: max(w.system-w.used, 0) / grain * grain}
}

// TestAYear fills a volume for a year, of which some is removed now and then, with some dozens of settings: no step is taken that
// is not needed, none before the last one is done, and none beyond the limit; and the volume is never full before it is there.
func TestAYear(t *testing.T) {
	steps := 0
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		size := int64(1+random.IntN(50)) * gib
		limit := size + random.Int64N(40*gib)
		w := &world{T: t, claim: claim("1Gi", "1Gi"), overheads: random.Int64N(50)}
		quantity := *resource.NewQuantity(size, resource.BinarySI)
		w.claim.Spec.Resources.Requests[corev1.ResourceStorage], w.claim.Status.Capacity[corev1.ResourceStorage] = quantity, quantity
		w.system = size / 1000 * (1000 - w.overheads)
		w.storage = v1alpha1.Storage{Size: quantity, AutoGrow: &v1alpha1.AutoGrow{Limit: *resource.NewQuantity(limit, resource.BinarySI),
			FreePercent: 5 + random.Int32N(46), StepPercent: 10 + random.Int32N(91)}}
		w.look()
		// A volume of the limit is as good as full at the end of the year, an hour at a time.
		const hours = 365 * 24
		for hour := range hours {
			w.used += max(limit/hours, 1)
			if random.IntN(1000) == 0 {
				w.used = w.used * 9 / 10
			}
			for range 8 {
				w.round()
			}
			present := w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
			if w.used >= w.system && limit-present.Value() >= gib {
				t.Fatalf("seed %d: full in hour %d with %s, below the limit of %d", seed, hour, present.String(), limit)
			}
		}
		if most := int((limit-size)/gib) + 1; w.steps > most {
			t.Errorf("seed %d: %d steps from %d to %d", seed, w.steps, size, limit)
		}
		steps += w.steps
	}
	if steps < 80 {
		t.Errorf("only %d steps in all: nothing is tested", steps)
	}
}
