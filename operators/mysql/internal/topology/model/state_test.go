package model

import (
	"reflect"
	"slices"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// fields says of every field of the world's state how Clone and Fingerprint treat it. A new field makes the test below
// fail until somebody has thought about it.
func fields() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[World](): "Now: ages. Store, Members, Operators: encoded. Violations: a search ends there. " +
			"Decision, Watch, Trace: shared, no state. txs: encoded by number. numbers: follows from txs. " +
			"nextUUID, nextBoot, nextPass: supply of names. cut: encoded. history: encoded",
		reflect.TypeFor[Store](): "Record, Request, Instances, Template, Config, Manual, ReadWrite, Readable, Pods, Term: encoded. " +
			"Gone: encoded for etcd; an operator does not read its copy",
		reflect.TypeFor[tx](): "uuid, number, acked, waived, errant: encoded. set: follows. epoch, by: for words",
		reflect.TypeFor[history](): "acker, openedAt, opener, forced: encoded. commits, archived, trimmed: only counted. " +
			"A clone has its own maps",
		reflect.TypeFor[Member](): "Name, Ordinal: the order. Volume, Pod, Terminating, TerminatingAt, Template, Frozen, CutOff, Deaf, Stalled, " +
			"Ill, ApplyError: encoded. world: the clone. agent, server: encoded while there is a pod",
		reflect.TypeFor[agent](): "boot, directive, passwords, passwordEpoch, selfFenced, links: encoded. refused: no decision reads it. " +
			"proof: encoded while it serves",
		reflect.TypeFor[sealedFor](): "number, key: encoded",
		reflect.TypeFor[server](): "state, role, epoch, serving, tainted, drained, acks, receiving, acknowledging, connected, receiverError, heard, " +
			"applying, config, donor: encoded unless it is down; downAt if it is. dumps, session: encoded, copied with both ends",
		reflect.TypeFor[dump](): "member, source, semi, pos, got, acked, gone: encoded",
		reflect.TypeFor[Volume](): "Kept, Term, Promised, Served, Recovered, Record, Old, uuid, binlog, waiting, relay, accounts, channel, config, broken: " +
			"encoded. has, executed, held: follow from the logs",
		reflect.TypeFor[password]():             "epoch, number, open: encoded",
		reflect.TypeFor[channel]():              "source, uuid, epoch, number: encoded",
		reflect.TypeFor[Operator]():             "Term, store, members: encoded. Plan: for people. world: the clone. marker: encoded by its Memory",
		reflect.TypeFor[memory]():               "report, executed, held, boot, heard, first, looked, epoch, unfit, unfitSince: encoded",
		reflect.TypeFor[link]():                 "up, down, sent: encoded",
		reflect.TypeFor[message]():              "report, executed, held, boot, at: encoded",
		reflect.TypeFor[order]():                "directive, grant: encoded. at: encoded of a grant",
		reflect.TypeFor[instance.Record]():      "Epoch, Term, Primary, Voters, Change, Handover: encoded",
		reflect.TypeFor[instance.Handover]():    "To, NotAfter, GivenUp, Why: encoded",
		reflect.TypeFor[instance.VoterChange](): "Add, Remove, Why: encoded",
		reflect.TypeFor[instance.Directive](): "Term, Epoch, Role, Record, Primary, Replica, Clone, Rejoin, Config, Restart: encoded. ID: follows. " +
			"ServerID: follows from the ordinal. BufferPoolBytes, Users, Backup: not in this world",
		reflect.TypeFor[instance.PrimaryDuty](): "Acks, Serve, Admitted, Bootstrap: encoded. LeaseMillis: constant",
		reflect.TypeFor[instance.Peer]():        "Name, Key: encoded",
		reflect.TypeFor[instance.ReplicaDuty](): "Source, Acknowledge, CatchUp, OpenAfter, Closing: encoded",
		reflect.TypeFor[instance.CloneDuty]():   "Source, SourceExecuted, Why: encoded. Seed: added to a plan, not in this world",
		reflect.TypeFor[instance.RejoinDuty]():  "Source, ServerUUID, Holds: encoded",
		reflect.TypeFor[instance.Source]():      "Name, ServerUUID, Credential: encoded. Host, Port, CA: follow",
		reflect.TypeFor[instance.Sealed]():      "Epoch, Key, Box: encoded. Account: follows",
		reflect.TypeFor[instance.Grant]():       "Term, Epoch, Primary: encoded",
	}
}

func TestEveryFieldIsAccountedFor(t *testing.T) {
	for typ, text := range fields() {
		said := words(text)
		for f := range typ.Fields() {
			if !slices.Contains(said, f.Name) {
				t.Errorf("%s.%s: copy it in Clone if it can change, write it in Fingerprint if a step reads it, and say so here", typ, f.Name)
			}
		}
	}
}

// words splits at everything that is no letter.
func words(text string) []string {
	var out []string
	word := ""
	for _, r := range text + " " {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			word += string(r)
			continue
		}
		if word != "" {
			out = append(out, word)
		}
		word = ""
	}
	return out
}

// busy is a world in the middle of everything: after a failover, with an addition under way, a write that waits, two leaders.
func busy(t *testing.T) *World {
	t.Helper()
	w := New(3)
	if !w.Settle(1500) {
		t.Fatalf("not healthy:\n%s", w.Dump())
	}
	w.Members[0].Write()
	w.Members[0].KillServer("test")
	for range 30 {
		w.Round(nil)
	}
	w.Store.Instances = 4
	for n := 0; n < 300 && (w.Store.Record.Change == nil || w.Store.Record.Change.Add != "db-3"); n++ {
		w.Round(nil)
	}
	if p := w.member(w.Store.Record.Primary); w.Store.Record.Epoch != 2 || w.Store.Record.Change == nil || !p.serving || len(p.dumps) == 0 {
		t.Fatalf("not as busy as it should be:\n%s", w.Dump())
	}
	w.NewOperator()
	for _, m := range w.Members {
		m.Write()
		if m.Pod {
			m.Send(w.Operators[0])
			m.Send(w.Operators[1])
			m.Deliver(w.Operators[1])
		}
	}
	w.Operators[0].Decide()
	return w
}

// A clone is the same, and goes on without a trace in the original; and the same moves lead both to the same.
func TestCloneIsTheSameAndApart(t *testing.T) {
	w := busy(t)
	before := w.Fingerprint()
	c := w.Clone()
	if c.Fingerprint() != before {
		t.Fatal("the clone is another world")
	}
	again := w.Clone()
	for n := range 40 {
		c.Round(nil)
		c.Members[n%4].Write()
		if n == 10 {
			c.Members[1].KillServer("test")
			c.CutMembers(0, 2, true)
			c.Store.Gone["db-8"] = true
		}
	}
	if w.Fingerprint() != before {
		t.Error("what happens to a clone happens to the original")
	}
	if c.Fingerprint() == before {
		t.Error("forty rounds change nothing")
	}
	for range 40 {
		w.Round(nil)
		again.Round(nil)
		if w.Fingerprint() != again.Fingerprint() {
			t.Fatal("the clone does not go on like the original")
		}
	}
}

// What a step could read is seen by the fingerprint: each of these is one small difference.
func TestFingerprintSeesEveryDifference(t *testing.T) {
	w := busy(t)
	leader := func(w *World) *Member { return w.member(w.Store.Record.Primary) }
	seen := map[[16]byte]string{w.Fingerprint(): "nothing"}
	for name, change := range map[string]func(*World){
		"epoch":           func(w *World) { w.Store.Record.Epoch++ },
		"term of record":  func(w *World) { w.Store.Record.Term++ },
		"voters":          func(w *World) { w.Store.Record.Voters = w.Store.Record.Voters[1:] },
		"request":         func(w *World) { w.Store.Request.Switchover = "any" },
		"lost voter":      func(w *World) { w.Store.Gone["db-1"] = true },
		"cache":           func(w *World) { w.Operators[0].store.Instances++ },
		"cut":             func(w *World) { w.CutMembers(1, 2, true) },
		"cut back":        func(w *World) { w.CutMembers(2, 1, true) },
		"deaf":            func(w *World) { w.Members[1].Deaf = true },
		"promised":        func(w *World) { leader(w).Volume.Promised++ },
		"served":          func(w *World) { leader(w).Volume.Served-- },
		"open":            func(w *World) { leader(w).serving = false },
		"acks":            func(w *World) { leader(w).acks++ },
		"old boot":        func(w *World) { leader(w).boot = 99 },
		"password":        func(w *World) { leader(w).Volume.accounts["db-7"] = password{number: 1, open: true} },
		"in flight":       func(w *World) { leader(w).links[1].up = nil },
		"acknowledged":    func(w *World) { w.txs[0].acked = !w.txs[0].acked },
		"acknowledger":    func(w *World) { w.history.acker[7] = "db-1" },
		"known epoch":     func(w *World) { w.Operators[1].members["db-0"].epoch++ },
		"time":            func(w *World) { w.Now += 100e6 },
		"relay":           func(w *World) { v := w.Members[3].Volume; v.relay = append(v.relay, 0) },
		"position":        func(w *World) { leader(w).dumps[sortedKeys(leader(w).dumps)[0]].acked++ },
		"waiting commits": func(w *World) { leader(w).Volume.waiting++ },
	} {
		c := w.Clone()
		change(c)
		print := c.Fingerprint()
		if other, ok := seen[print]; ok {
			t.Errorf("%s makes no other difference than %s", name, other)
		}
		seen[print] = name
	}
}

// Names are of no matter: two worlds that differ in how many names were given before are the same.
func TestFingerprintIgnoresHowNamesAreCounted(t *testing.T) {
	a, b := New(2), New(2)
	b.nextBoot, b.nextPass, b.nextUUID = 40, 50, 60
	for range 200 {
		a.Round(nil)
		b.Round(nil)
	}
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("the supply of names shows")
	}
}

func TestMovesAreReadAsTheyAreWritten(t *testing.T) {
	for k := range kinds {
		want := Move{Kind: k, Member: 3, Other: 4, Term: 5}
		if got, err := ParseMove(want.String()); err != nil || got != want {
			t.Errorf("%s is read as %v, %v", want, got, err)
		}
	}
	for _, text := range []string{"", "act", "act:0:0", "dance:0:0:0", "act:9:0:0", "act:-1:0:0", "act:x:0:0"} {
		if _, err := ParseMove(text); err == nil {
			t.Errorf("%q is taken for a move", text)
		}
	}
}
