package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// Weather is a network that is bad all the time, on every way between nodes.
type Weather struct {
	// Loss is how many percent of the packets are lost, Delay how late the others are, one way.
	Loss  float64
	Delay time.Duration
}

// Endurance is what became of a cluster in bad weather: .out/chaos-network.json.
type Endurance struct {
	Minutes      float64      `json:"minutes"`
	Loss         float64      `json:"loss_percent"`
	DelayMS      int64        `json:"delay_ms"`
	Failovers    int64        `json:"false_failovers"`
	Acknowledged int64        `json:"acknowledged"`
	Unknown      int64        `json:"unknown"`
	Reads        int64        `json:"reads"`
	Lost         int64        `json:"lost"`
	Phantom      int64        `json:"phantom"`
	Disordered   int64        `json:"disordered"`
	NotLinear    int64        `json:"not_linearizable"`
	DualWriters  int64        `json:"dual_writers"`
	StaleMax     float64      `json:"stale_reads_max_ms"`
	Gap          Distribution `json:"gap_ms"`
	Problems     []string     `json:"problems,omitempty"`
}

// Good says whether nothing happened that should not.
func (e Endurance) Good() bool {
	return e.Failovers == 0 && len(e.Problems) == 0 && e.Acknowledged > 0
}

// chapterOf is how long a chapter of the recording is: its history is judged at its end, while the weather goes on.
const chapterOf = 30 * time.Second

// Endure lets the cluster stand in bad weather until the campaign's time is over. In it nobody may fail over.
func (c *Campaign) Endure(ctx context.Context, w Weather) (e Endurance, err error) {
	e = Endurance{Loss: w.Loss, DelayMS: w.Delay.Milliseconds()}
	if c.field.network == nil {
		return e, errors.New("the network of this cluster cannot be disturbed: use CLUSTER=local")
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go c.epochs.follow(watching, c.cluster)
	before, err := c.cluster.WaitHealthy(ctx, time.Minute, 1)
	if err != nil {
		return e, err
	}
	if err := c.field.network.Disturb(ctx, netfault.Rule{Node: netfault.Everywhere, Loss: w.Loss, Delay: w.Delay}); err != nil {
		return e, err
	}
	defer func() {
		calm, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, c.field.network.HealAll(calm), c.raw.close())
	}()
	began := time.Now()
	var gaps []time.Duration
	for number := 1; time.Now().Before(c.Until); number++ {
		result, err := c.chapter(ctx, number)
		if err != nil {
			return e, err
		}
		e.add(result)
		gaps = append(gaps, result.Gap)
		e.Minutes = time.Since(began).Minutes()
		e.Failovers = result.EpochAfter - lab.Epoch(before)
		e.Gap = distribution(gaps)
		c.timeline.Log("%5.1f min  %6d acknowledged, %d of unknown outcome, gap %s, %d failovers  %v", e.Minutes, e.Acknowledged, e.Unknown,
			milliseconds(result.Gap), e.Failovers, result.problems())
	}
	return e, nil
}

// chapter records for a while and judges.
func (c *Campaign) chapter(ctx context.Context, number int) (Result, error) {
	result := Result{Round: Round{Seed: c.Seed, Number: number}, Converged: true}
	began := history.Now()
	if err := c.each(ctx, func(ctx context.Context, rec *lab.Recorder) error { return rec.Begin(ctx, result.Name()) }); err != nil {
		return result, err
	}
	if err := sleep(ctx, chapterOf); err != nil {
		return result, err
	}
	cluster, err := c.cluster.Get(ctx)
	if err != nil {
		return result, err
	}
	result.EpochAfter = lab.Epoch(cluster)
	return result, c.judge(ctx, &result, began)
}

func (e *Endurance) add(r Result) {
	e.Acknowledged += r.Acknowledged
	e.Unknown += r.Unknown
	e.Reads += r.Reads
	e.Lost += r.Lost
	e.Phantom += r.Phantom
	e.Disordered += r.Disordered
	e.NotLinear += r.NotLinearizable
	e.DualWriters += r.DualWriters
	e.StaleMax = max(e.StaleMax, float64(r.StaleFor.Milliseconds()))
	e.Problems = append(e.Problems, r.problems()...)
}
