package monitoring

import (
	"fmt"
	"strings"
	"time"
)

// Severity says who has to look and when.
type Severity string

// The severities.
const (
	// Critical: clients notice, or soon will; somebody is woken.
	Critical Severity = "critical"
	// Warning: somebody looks during the day.
	Warning Severity = "warning"
)

// Alert is one alert.
type Alert struct {
	// Name is the alert's name and that of its page in docs/runbooks.
	Name string
	// Expr is when it fires, For how long that must hold.
	Expr string
	For  time.Duration
	// Severity says who has to look.
	Severity Severity
	// Summary is one line, Description says what is known; both may quote labels and the value.
	Summary, Description string
}

// lagLimit is the lag in seconds above which a sample counts as too high, lagSamples how many in a row raise the alert.
const (
	lagLimit   = 60
	lagSamples = 3
)

// exposureLimit is for how many seconds acknowledged writes may wait to be archived.
const exposureLimit = 60

// Scope is what the expressions are about.
type Scope struct {
	// Namespace and Cluster name the MySQLCluster.
	Namespace, Cluster string
	// Instances is how many instances it shall have.
	Instances int32
	// Interval is how often its metrics are scraped and the rules evaluated.
	Interval time.Duration
	// Backups says that it has a target for backups; Overdue is how old the newest full backup may become, 0 if it may become any age.
	Backups bool
	Overdue time.Duration
	// Drills says that restore drills are held; Unproven is how long ago one may have passed last, 0 for any time.
	Drills   bool
	Unproven time.Duration
}

// selector returns the matchers of the scope's series, more added.
func (s Scope) selector(more ...string) string {
	matchers := append([]string{fmt.Sprintf("namespace=%q", s.Namespace), fmt.Sprintf("mysql_cluster=%q", s.Cluster)}, more...)
	return "{" + strings.Join(matchers, ",") + "}"
}

// lagging holds for the replicas of which all samples of a range that holds lagSamples are above the limit. A sample has the time
// at which its scrape began and comes in when that has ended; whoever looks in between misses the newest. Prometheus looks at the
// rules and at a replica at times of its own that are as far apart for ever, so that an alert which rests on the range that ends
// now might never fire. So the alert also rests on the range that ended an interval ago, if nothing has come in since.
func lagging(offset string) string {
	return `(min_over_time(mysql_slave_status_seconds_behind_master{$sel}[$samples]` + offset + `) > $lag` +
		` and count_over_time(mysql_slave_status_seconds_behind_master{$sel}[$samples]` + offset + `) >= $count)`
}

// expand replaces $sel by the selector's matchers, $instances and $lag by their values, $interval by that between two samples, and
// $samples by the range that holds exactly lagSamples of them.
//
// A range is open at its older end, and Prometheus aligns the times of scrapes, so that a range of three intervals holds three
// samples whenever it is looked at: not four just after a scrape, nor two just before the next.
func (s Scope) expand(expr string) string {
	matchers := strings.Trim(s.selector(), "{}")
	return strings.NewReplacer(
		"$sel", matchers, "$instances", fmt.Sprint(s.Instances), "$lag", fmt.Sprint(lagLimit),
		"$count", fmt.Sprint(lagSamples), "$samples", promDuration(lagSamples*s.Interval),
		"$interval", promDuration(s.Interval), "$exposure", fmt.Sprint(exposureLimit), "$overdue", fmt.Sprint(int64(s.Overdue/time.Second)),
		"$unproven", fmt.Sprint(int64(s.Unproven/time.Second)),
	).Replace(expr)
}

// promDuration writes a duration as PromQL does.
func promDuration(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// Alerts are the alerts of a cluster, in the order in which people look for them.
func Alerts(s Scope) []Alert {
	alerts := []Alert{
		{
			Name: "MySQLNoPrimary", Severity: Critical, For: 30 * time.Second,
			Expr:        `(sum(kapok_mysql_agent_writable{$sel}) or vector(0)) < 1`,
			Summary:     "No instance of the MySQL cluster takes writes",
			Description: "For 30 seconds no instance has said that it is the primary and takes writes. A failover takes far less.",
		},
		{
			Name: "MySQLFailoverBlocked", Severity: Critical, For: 3 * time.Minute,
			Expr: `(sum(kapok_mysql_agent_writable{$sel}) or vector(0)) < 1` +
				` and on() sum(kapok_mysql_agent_state{$sel,state="Running"}) >= 1`,
			Summary:     "An instance of the MySQL cluster runs, and none is promoted",
			Description: "For three minutes mysqld has been running on some instance while none takes writes: the operator waits for a quorum, or for a person.",
		},
		{
			Name: "MySQLDown", Severity: Warning, For: time.Minute,
			Expr:        `mysql_up{$sel} == 0`,
			Summary:     "mysqld of {{ $labels.pod }} lets nobody in",
			Description: "The exporter beside mysqld has not been let in for a minute: mysqld does not run, does not answer, is closed to clients, or has no session left.",
		},
		{
			Name: "MySQLInstanceMissing", Severity: Warning, For: 5 * time.Minute,
			Expr:        `(sum(kapok_mysql_agent_ready{$sel}) or vector(0)) < $instances`,
			Summary:     "Only {{ $value }} of $instances instances of the MySQL cluster serve",
			Description: "For five minutes fewer instances than wanted have been what they were told to be.",
		},
		{
			Name: "MySQLReplicationLagHigh", Severity: Warning,
			Expr: lagging("") + ` or (` + lagging(" offset $interval") +
				` unless count_over_time(mysql_slave_status_seconds_behind_master{$sel}[$interval]))`,
			Summary:     "{{ $labels.pod }} is {{ $value }} seconds or more behind",
			Description: "Three samples in a row said that the replica is more than $lag seconds behind the primary: readers see the past, and a failover to it would take as long.",
		},
		{
			Name: "MySQLReplicationStopped", Severity: Warning, For: time.Minute,
			Expr:        `kapok_mysql_agent_receiver_connected{$sel} == 0 or kapok_mysql_agent_applier_running{$sel} == 0`,
			Summary:     "{{ $labels.pod }} does not replicate",
			Description: "For a minute the replica has not been receiving from the primary, or not been applying. Its lag says nothing meanwhile.",
		},
		{
			Name: "MySQLCommitsWait", Severity: Critical, For: 30 * time.Second,
			// On a busy primary some commit is always under way: that alone is no fault, unless none of them ever ends.
			Expr: `min_over_time(kapok_mysql_agent_waiting_commits{$sel}[$samples]) > 0` +
				` and changes(kapok_mysql_agent_executed_transactions{$sel}[$samples]) == 0`,
			Summary:     "Commits on {{ $labels.pod }} wait for an acknowledgement",
			Description: "For 30 seconds and more commits have been waiting and none has been acknowledged by a replica. Writes hang; none that was answered is lost.",
		},
		{
			Name: "MySQLErrantTransactions", Severity: Warning,
			Expr: `max by (namespace, mysql_cluster, pod) (kapok_mysql_agent_errant_archives{$sel})` +
				` > min by (namespace, mysql_cluster, pod) (min_over_time(kapok_mysql_agent_errant_archives{$sel}[1h]))`,
			Summary:     "{{ $labels.pod }} held transactions that the primary does not have",
			Description: "Within the last hour transactions that only this instance held were archived on its volume. Whether they are missed is for a person to say.",
		},
		{
			Name: "MySQLConnectionsNearLimit", Severity: Warning, For: 2 * time.Minute,
			Expr:        `mysql_global_status_threads_connected{$sel} / mysql_global_variables_max_connections{$sel} > 0.8`,
			Summary:     "{{ $labels.pod }} has {{ $value | humanizePercentage }} of its sessions in use",
			Description: "When all are in use, clients are refused with error 1040.",
		},
		{
			Name: "MySQLVolumeFillingUp", Severity: Warning, For: 2 * time.Minute,
			Expr: `kapok_mysql_agent_volume_free_bytes{$sel} / kapok_mysql_agent_volume_size_bytes{$sel} < 0.15` +
				` or (predict_linear(kapok_mysql_agent_volume_free_bytes{$sel}[1h], 6 * 3600) < 0` +
				` and kapok_mysql_agent_volume_free_bytes{$sel} / kapok_mysql_agent_volume_size_bytes{$sel} < 0.5)`,
			Summary:     "The data volume of {{ $labels.pod }} is filling up",
			Description: "Less than 15 % are free, or at the pace of the last hour it will be full within six hours. A primary whose volume is full takes no writes.",
		},
		{
			Name: "MySQLVolumeStalled", Severity: Critical, For: 30 * time.Second,
			Expr:        `kapok_mysql_agent_stalled{$sel} == 1`,
			Summary:     "The data volume or mysqld of {{ $labels.pod }} does not answer",
			Description: "For 30 seconds a small write to the volume has not been completed, or mysqld has not answered.",
		},
		{
			Name: "MySQLRestartsOften", Severity: Warning,
			Expr:        `increase(kapok_mysql_agent_mysqld_starts_total{$sel}[30m]) > 3`,
			Summary:     "mysqld of {{ $labels.pod }} starts again and again",
			Description: "It was started about {{ $value | humanize }} times within half an hour.",
		},
		{
			Name: "MySQLExporterDown", Severity: Warning, For: 5 * time.Minute,
			Expr:        `max by (namespace, mysql_cluster, pod) (up{$sel,container="exporter"}) == 0`,
			Summary:     "The metrics of {{ $labels.pod }} are missing",
			Description: "For five minutes the exporter's container has not been answering. Nothing is known of mysqld from it, and most other alerts about this instance are blind.",
		},
	}
	if s.Instances > 1 {
		alerts = append(alerts, Alert{
			// A replica that is lost leaves the voters after half a minute, so that the others make up for it and one more may be
			// lost. This is for what they cannot make up for; of the single one MySQLInstanceMissing tells.
			Name: "MySQLNotRedundant", Severity: Warning, For: time.Minute,
			Expr: `(kapok_mysql_agent_attached_voters{$sel} < 1` +
				` or (kapok_mysql_agent_attached_voters{$sel} <= kapok_mysql_agent_required_acknowledgements{$sel}` +
				` and kapok_mysql_agent_voters{$sel} > 2))` +
				` and kapok_mysql_agent_writable{$sel} == 1`,
			Summary:     "The MySQL cluster cannot lose another instance",
			Description: "{{ $value }} other voters receive from the primary {{ $labels.pod }}. If one more instance is lost, writes stop, or data is lost with the last copy.",
		})
	}
	alerts = append(alerts, s.backupAlerts()...)
	for i := range alerts {
		a := &alerts[i]
		a.Expr, a.Summary, a.Description = s.expand(a.Expr), s.expand(a.Summary), s.expand(a.Description)
	}
	return alerts
}

// backupAlerts are those of a cluster with backups.
func (s Scope) backupAlerts() []Alert {
	if !s.Backups {
		return nil
	}
	alerts := []Alert{{
		// Whoever does not know how exposed it is does not archive.
		Name: "MySQLArchiveExposed", Severity: Warning, For: time.Minute,
		Expr:        `(max(kapok_mysql_agent_archive_exposure_seconds{$sel}) or vector(+Inf)) > $exposure`,
		Summary:     "Writes to the MySQL cluster are not archived",
		Description: "For a minute writes that were acknowledged more than $exposure seconds ago have not been in the archive. With all volumes they would be lost.",
	}}
	if s.Overdue > 0 {
		alerts = append(alerts, Alert{
			Name: "MySQLBackupOverdue", Severity: Warning, For: 5 * time.Minute,
			Expr:        `time() - max(kapok_mysql_agent_newest_full_backup_timestamp_seconds{$sel}) > $overdue`,
			Summary:     "The newest full backup of the MySQL cluster is {{ $value | humanizeDuration }} old",
			Description: "By spec.backup.schedule there should be a newer one. Until there is, a restore has to replay more, and takes longer.",
		})
	}
	if s.Drills {
		expr := `max(kapok_mysql_agent_drill_failed{$sel}) == 1`
		if s.Unproven > 0 {
			expr += ` or time() - max(kapok_mysql_agent_drill_passed_timestamp_seconds{$sel}) > $unproven`
		}
		alerts = append(alerts, Alert{
			Name: "MySQLBackupUnproven", Severity: Warning, Expr: expr,
			Summary:     "The backups of the MySQL cluster are not proven",
			Description: "The newest restore drill has failed, or none has passed for longer than spec.backup.verify.schedule allows. What is stored may be of no use.",
		})
	}
	return alerts
}
