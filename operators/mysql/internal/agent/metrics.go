package agent

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// What the agent says about its instance, for Prometheus: what mysqld cannot say about itself, because it does not run, lets
// nobody in, or does not know what it was told to be. Nothing here has a label whose values are not listed in this code.
var (
	metricState = describe("state", "1 for what mysqld is doing now, 0 for the other states.", "state")
	metricRole  = describe("role", "1 for what the instance is in the epoch, 0 for the other roles; all 0 until it has become something.", "role")
	metricEpoch = describe("epoch", "The epoch under which the instance became what it is; each new primary begins one.")
	metricReady = describe("ready", "1 if the instance is what it was told to be and takes clients.")

	metricExecuted   = describe("executed_transactions", "How many transactions the instance has executed, its own and replicated ones.")
	metricWritable   = describe("writable", "1 if the instance is the primary and takes writes.")
	metricFenced     = describe("self_fenced", "1 if the primary saw neither its operator nor a quorum in time and ended its mysqld.")
	metricStarts     = describe("mysqld_starts_total", "How often the agent has started mysqld.")
	metricVoters     = describe("voters", "Of a primary: how many instances vote, itself included.")
	metricAttached   = describe("attached_voters", "Of a primary: how many other voters receive from it now.")
	metricAcks       = describe("required_acknowledgements", "Of a primary: how many other voters must hold a transaction before its commit is answered.")
	metricWaiting    = describe("waiting_commits", "Of a primary: sessions whose commit waits for an acknowledgement.")
	metricConnected  = describe("receiver_connected", "Of a replica: 1 if it receives from the primary.")
	metricApplying   = describe("applier_running", "Of a replica: 1 if it applies what it has received.")
	metricLag        = describe("lag_seconds", "Of a replica: how old the newest applied transaction is while there is something left to apply; missing if unknown.")
	metricErrant     = describe("errant_archives", "Archives of transactions that only this instance held, on its volume; the agent counts up to 16.")
	metricVolumeSize = describe("volume_size_bytes", "Size of the data volume, rounded.")
	metricVolumeFree = describe("volume_free_bytes", "Free space on the data volume, rounded.")
	metricStalled    = describe("stalled", "1 if the data volume does not complete writes, or mysqld does not answer.")

	metricNewestFull   = describe("newest_full_backup_timestamp_seconds", "Of the archiver: when the newest full backup that is stored was finished, in Unix seconds; missing if there is none, or unknown.")
	metricExposure     = describe("archive_exposure_seconds", "Of the archiver: how long ago everything acknowledged was archived, 0 if it is now; missing if unknown.")
	metricPieces       = describe("archived_pieces_total", "Pieces of the binary log that the agent has archived.")
	metricArchived     = describe("archived_bytes_total", "Bytes of the binary log that the agent has archived, unpacked.")
	metricFailures     = describe("archive_failures_total", "Attempts to archive, or to delete what is not kept any longer, that have failed.")
	metricFulls        = describe("full_backups_total", "Full backups that the agent has tried to take, by how they ended.", "result")
	metricDrillPassed  = describe("drill_passed_timestamp_seconds", "Of the archiver: when a restore drill passed last, as the operator says, in Unix seconds; missing if none has.")
	metricDrillFailed  = describe("drill_failed", "Of the archiver: 1 if the newest restore drill has failed, else 0; missing if none was held.")
	metricDrillTook    = describe("drill_restore_seconds", "Of the archiver: how long the restore of the newest restore drill took; missing if unknown.")
	metricFullDuration = describe("full_backup_duration_seconds", "How long the newest full backup took that the agent has taken; missing before the first.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kapok_mysql_agent_"+name, help, labels, nil)
}

// The values of the labels.
var (
	allStates = []instance.State{instance.StateDown, instance.StateStarting, instance.StateRunning, instance.StateCloning}
	allRoles  = []instance.Role{instance.RoleStandby, instance.RolePrimary, instance.RoleDrain, instance.RoleReplica, instance.RoleClone}
)

// collector makes metrics of the newest report, and of what the keeper of the backups has counted.
type collector struct {
	newest  func() *instance.Report
	backups func() protect.Metrics
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		metricState, metricRole, metricEpoch, metricReady, metricExecuted, metricWritable, metricFenced, metricStarts, metricVoters, metricAttached, metricAcks,
		metricWaiting, metricConnected, metricApplying, metricLag, metricErrant, metricVolumeSize, metricVolumeFree, metricStalled,
		metricNewestFull, metricExposure, metricPieces, metricArchived, metricFailures, metricFulls, metricFullDuration, metricDrillPassed,
		metricDrillFailed, metricDrillTook,
	} {
		to <- desc
	}
}

// Collect implements prometheus.Collector. Before the first report there is nothing to say.
func (c collector) Collect(to chan<- prometheus.Metric) {
	r := c.newest()
	if r == nil {
		return
	}
	c.collectBackups(to)
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, state := range allStates {
		gauge(metricState, number(r.State == state), string(state))
	}
	for _, role := range allRoles {
		gauge(metricRole, number(r.Role == role), string(role))
	}
	to <- prometheus.MustNewConstMetric(metricStarts, prometheus.CounterValue, float64(r.Starts))
	gauge(metricEpoch, float64(r.Epoch))
	gauge(metricReady, number(notReady(*r) == ""))
	if executed, err := gtid.Parse(r.Executed); err == nil && r.State == instance.StateRunning {
		gauge(metricExecuted, float64(executed.Count()))
	}
	gauge(metricWritable, number(r.State == instance.StateRunning && r.Role == instance.RolePrimary && r.Serving && !r.Unresponsive))
	gauge(metricFenced, number(r.SelfFenced))
	gauge(metricErrant, float64(len(r.Archives)))
	gauge(metricStalled, number(r.Stalled))
	if r.Volume.Size > 0 {
		gauge(metricVolumeSize, float64(r.Volume.Size))
		gauge(metricVolumeFree, float64(r.Volume.Free))
	}
	if b := r.Backup; b != nil && b.Archive != nil && b.Archive.Listed && len(b.Archive.Stored) > 0 {
		gauge(metricNewestFull, float64(b.Archive.Stored[len(b.Archive.Stored)-1].Finished.Unix()))
	}
	switch {
	case r.Role == instance.RolePrimary:
		gauge(metricVoters, float64(len(r.Record.Voters)))
		gauge(metricAttached, float64(attachedVoters(*r)))
		gauge(metricAcks, float64(max(0, r.Acks)))
		gauge(metricWaiting, float64(r.WaitingCommits))
	case r.Role == instance.RoleReplica:
		gauge(metricConnected, number(r.Receiver.Connected))
		gauge(metricApplying, number(r.Applier.Running))
		if r.Applier.LagSeconds >= 0 {
			gauge(metricLag, float64(r.Applier.LagSeconds))
		}
	}
}

// collectBackups says what there is to say about backups.
func (c collector) collectBackups(to chan<- prometheus.Metric) {
	m := c.backups()
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	counter(metricPieces, float64(m.Pieces))
	counter(metricArchived, float64(m.Bytes))
	counter(metricFailures, float64(m.Failures))
	counter(metricFulls, float64(m.FullsDone), "done")
	counter(metricFulls, float64(m.FullsFailed), "failed")
	if m.Exposed {
		to <- prometheus.MustNewConstMetric(metricExposure, prometheus.GaugeValue, m.Exposure.Seconds())
	}
	if d := m.Drill; d != nil {
		to <- prometheus.MustNewConstMetric(metricDrillFailed, prometheus.GaugeValue, number(d.Failed))
		if !d.Passed.IsZero() {
			to <- prometheus.MustNewConstMetric(metricDrillPassed, prometheus.GaugeValue, float64(d.Passed.Unix()))
		}
		if d.Took > 0 {
			to <- prometheus.MustNewConstMetric(metricDrillTook, prometheus.GaugeValue, d.Took.Seconds())
		}
	}
	if m.FullTook > 0 {
		to <- prometheus.MustNewConstMetric(metricFullDuration, prometheus.GaugeValue, m.FullTook.Seconds())
	}
}

// attachedVoters counts the voters that receive from this primary: those whose acknowledgement counts.
func attachedVoters(r instance.Report) int {
	n := 0
	for _, member := range r.Attached {
		if slices.Contains(r.Record.Voters, member) {
			n++
		}
	}
	return n
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
