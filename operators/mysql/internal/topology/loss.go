package topology

// Loss is why a primary is given up, in one word of few.
type Loss string

// The reasons to give a primary up.
const (
	// LossNone: it is not given up.
	LossNone Loss = ""
	// LossEnded: its agent says that its mysqld ended.
	LossEnded Loss = "ended"
	// LossSilent: neither the operator nor its voters hear it: its node, its network or its agent is gone.
	LossSilent Loss = "silent"
	// LossCutOff: it is at work, but its voters do not hear it.
	LossCutOff Loss = "cut-off"
	// LossStalled: its volume or mysqld does not answer.
	LossStalled Loss = "stalled"
	// LossSelfFenced: it saw neither its operator nor its quorum and closed itself.
	LossSelfFenced Loss = "self-fenced"
	// LossStuck: it was promoted and does not come up.
	LossStuck Loss = "stuck"
	// LossEmpty: its volume is empty.
	LossEmpty Loss = "empty"
	// LossRemoved: it is none of the instances any more.
	LossRemoved Loss = "removed"
	// LossFenced: a failover was begun before, and goes on.
	LossFenced Loss = "fenced"
)

// LossOf says why the primary of an observation is given up; LossNone if it is not.
func LossOf(o Observation) Loss {
	if o.Record.Epoch == 0 {
		return LossNone
	}
	return judge(o).loss
}

// Open says whether the committed primary takes writes.
func (o Observation) Open() bool { return o.Primary().serving(o.Record.Epoch) }
