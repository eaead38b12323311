package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// judge ends the round's chapter, gathers what was recorded and what is there, and judges it.
func (c *Campaign) judge(ctx context.Context, result *Result, began time.Duration) error {
	if err := c.each(ctx, func(ctx context.Context, rec *lab.Recorder) error { return rec.End(ctx) }); err != nil {
		return err
	}
	ended := history.Now()
	ops, err := c.gather(ctx, result.Name())
	if err != nil {
		return err
	}
	if err := c.raw.add(ops); err != nil {
		return err
	}
	final, err := c.recorders[0].Final(ctx, result.Name())
	if err != nil {
		return err
	}
	result.Verdict = Judge(ops, final, c.epochs.since(began))
	opened := began
	if len(result.Injected) > 0 {
		var at time.Time
		opened, at = result.first()
		if result.Phases, err = c.field.phases(ctx, at); err != nil {
			return err
		}
	}
	result.Gap = history.Widest(history.Acknowledgements(ops), opened, ended).Length()
	for _, o := range ops {
		if o.Kind == history.KindInsert && o.Outcome == history.Acknowledged {
			c.kept[result.Name()] = append(c.kept[result.Name()], o.Value)
		}
	}
	return nil
}

// gather returns what all recorders recorded of a chapter, in the order in which it was begun.
func (c *Campaign) gather(ctx context.Context, chapter string) ([]history.Operation, error) {
	var mu sync.Mutex
	var all [][]history.Operation
	err := c.each(ctx, func(ctx context.Context, rec *lab.Recorder) error {
		ops, err := rec.History(ctx, chapter)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, ops)
		return err
	})
	return history.Merge(all...), err
}

// replicaClient ends the names of the clients that read from replicas.
const replicaClient = "/replica"

// Judge says what a round's history and final state mean, with the epochs that were committed meanwhile.
func Judge(ops []history.Operation, final lab.FinalState, epochs []history.Epoch) Verdict {
	var v Verdict
	primary, replica := split(ops)
	for _, o := range ops {
		switch {
		case !o.Mutates():
			v.Reads++
		case o.Outcome == history.Acknowledged:
			v.Acknowledged++
		case o.Outcome == history.Unknown || o.Outcome == history.Pending:
			v.Unknown++
		}
	}
	v.judgeSets(ops, final)
	lists := history.CheckLists(primary, listsOf(ops, final))
	v.Lost += lists.Lost
	v.Phantom += lists.Phantom + lists.Duplicate
	v.Disordered += lists.Disordered + lists.Diverged
	v.say(lists.Examples)
	// A replica may show what nobody was told yet, and what is lost with its source then; it may also be behind. So its
	// reads are counted apart.
	v.ReplicaDiverged = history.CheckLists(slices.Concat(appends(ops), replica), listsOf(ops, final)).Diverged
	registers := history.CheckRegisters(primary, history.RegisterOptions{Timeout: registerPatience})
	v.Phantom += registers.Phantom
	// Two reads that contradict each other are a stale one, and which one cannot be told: it is counted and has no age.
	v.NotLinearizable += registers.NotLinearizable - registers.Contradictory
	v.StaleReads += registers.Contradictory
	v.Undecided += registers.Undecided
	v.Malformed += lists.Malformed + registers.Malformed
	v.say(registers.Examples)
	writers := history.CheckOneWriter(ops, epochs)
	v.DualWriters += writers.Dual + writers.Unelected + writers.Conflicting
	v.Malformed += writers.Malformed
	v.say(writers.Examples)
	stale := history.StaleWindow(lists.Staleness, registers.Staleness)
	v.StaleReads += stale.Stale
	v.StaleFor = stale.Widest
	if v.StaleFor >= staleLimit {
		v.say([]string{stale.Worst})
	}
	return v
}

// registerPatience bounds how long one register may take to judge.
const registerPatience = 10 * time.Second

func (v *Verdict) judgeSets(ops []history.Operation, final lab.FinalState) {
	object := ""
	for _, o := range ops {
		if o.Kind == history.KindInsert {
			object = o.Object
			break
		}
	}
	judge := history.JudgeSet(ops, object)
	for _, value := range final.Set {
		judge.Found(value, true)
	}
	set := judge.Verdict()
	v.Lost += set.Lost
	v.Phantom += set.Phantom
	v.say(set.Examples)
}

// maxExamples bounds how many findings are told in words.
const maxExamples = 20

func (v *Verdict) say(examples []string) {
	v.Examples = append(v.Examples, examples[:min(len(examples), maxExamples-len(v.Examples))]...)
}

// split tells operations on the primary from reads of replicas.
func split(ops []history.Operation) (primary, replica []history.Operation) {
	for _, o := range ops {
		if strings.HasSuffix(o.Client, replicaClient) {
			replica = append(replica, o)
		} else {
			primary = append(primary, o)
		}
	}
	return primary, replica
}

func appends(ops []history.Operation) []history.Operation {
	var out []history.Operation
	for _, o := range ops {
		if o.Kind == history.KindAppend {
			out = append(out, o)
		}
	}
	return out
}

// listsOf are the final lists, with an empty one for each that somebody tried and that is not there: all of them were read.
func listsOf(ops []history.Operation, final lab.FinalState) map[string][]int64 {
	lists := map[string][]int64{}
	for _, o := range ops {
		if o.Kind == history.KindAppend || o.Kind == history.KindReadList {
			lists[o.Object] = final.Lists[o.Object]
		}
	}
	maps.Copy(lists, final.Lists)
	return lists
}

// keptAll reads all sets once more: what was acknowledged in the first round has to be there after the last one, too.
func (c *Campaign) keptAll(ctx context.Context) error {
	if len(c.results) == 0 {
		return nil
	}
	if _, err := c.cluster.WaitHealthy(ctx, mendTimeout, 1); err != nil {
		return err
	}
	for i := range c.results {
		r := &c.results[i]
		final, err := c.recorders[0].Final(ctx, r.Name())
		if err != nil {
			return err
		}
		slices.Sort(final.Set)
		for _, value := range c.kept[r.Name()] {
			if _, there := slices.BinarySearch(final.Set, value); !there {
				r.Lost++
				r.say([]string{fmt.Sprintf("%d of %s: acknowledged then and not there at the end of the campaign", value, r.Name())})
			}
		}
	}
	return nil
}
