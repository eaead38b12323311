------------------------------ MODULE topology ------------------------------
(* The rules of operators/mysql/internal/topology by which no acknowledged    *)
(* transaction is lost: quorums, epochs, voter changes, fencing. README.md in *)
(* this folder says what is left out and what is called how in the Go code.   *)
EXTENDS Naturals, FiniteSets

CONSTANTS Members,  \* the instances
          Founders, \* those that vote in the beginning
          First,    \* the first primary, one of the founders
          MaxEpoch, MaxTx, \* how far a run goes
          None      \* no member

ASSUME Founders \subseteq Members /\ First \in Founders /\ None \notin Members

VARIABLES
  record,  \* what etcd holds: epoch, primary, voters, and who is being added or removed
  me,      \* what each member is
  view,    \* what the operator last heard of each member
  box,     \* the directive on its way to each member, if any
  mark,    \* what the primary held when the voter change was seen in force (Marker)
  asked,   \* has this change asked a lone primary for an acknowledgement? (addition.raised)
  doomed,  \* must this change be given up? (Observation.Doomed)
  made,    \* how many transactions were ever made
  acked,   \* those that a client was told are committed
  opened   \* what the last primary to be opened held at that moment

vars == <<record, me, view, box, mark, asked, doomed, made, acked, opened>>

W(n) == (n \div 2) + 1
R(n) == n - W(n) + 1
Voters == record.voters
Primary == record.primary
Holds(m) == me[m].log \cup me[m].waiting
NoMark == [is |-> FALSE, set |-> {}]
Nothing == [is |-> FALSE]

\* r is attached to p. The password of an epoch opens no other one (I12).
Attached(r, p) ==
  /\ me[r].role = "replica" /\ me[r].source = p /\ me[p].role = "primary"
  /\ me[r].epoch = me[p].epoch /\ r \in me[p].admitted

\* What the operator makes of a record r, of what it has heard v, and of whether the change is doomed d.

Larger(r) == W(Cardinality(r.voters) + 1) - 1
LeadingIn(r, v) == v[r.primary].role = "primary" /\ v[r.primary].epoch = r.epoch
FollowingIn(r, v, m) == v[m].role = "replica" /\ v[m].epoch = r.epoch /\ v[m].source = r.primary
GoneIn(r, v, d, m) == d \/ ~FollowingIn(r, v, m)  \* planner.abandoned, without its patience

\* planner.acks: while a voter enters, the larger quorum counts. A lone primary is asked for an acknowledgement only when
\* somebody gives one.
AcksIn(r, v, d) ==
  IF r.add = None THEN W(Cardinality(r.voters)) - 1
  ELSE IF Cardinality(r.voters) > 1 \/ (~GoneIn(r, v, d, r.add) /\ v[r.add].acking) THEN Larger(r)
  ELSE 0

\* planner.inForce: the primary works on the record as it is (Observation.told), with as many acknowledgements as it should.
InForceIn(r, v, d) == LeadingIn(r, v) /\ v[r.primary].rec = r /\ v[r.primary].acks = AcksIn(r, v, d)

ChangeInForceIn(r, v, d) ==
  /\ InForceIn(r, v, d)
  /\ \/ r.add /= None /\ AcksIn(r, v, d) = Larger(r)
     \/ r.remove /= None /\ r.remove \notin v[r.primary].admitted

Leading == LeadingIn(record, view)
Following(m) == FollowingIn(record, view, m)
Gone(m) == GoneIn(record, view, doomed, m)
Acks == AcksIn(record, view, doomed)
InForce == InForceIn(record, view, doomed)

\* planner.admitted: voters but one that leaves, and members that surely do not acknowledge.
Admitted ==
  { m \in Members \ {Primary} :
      /\ m /= record.remove
      /\ ~(m = record.add /\ Gone(m))
      /\ \/ m \in Voters
         \/ Leading /\ m \in view[Primary].admitted
         \/ view[m].epoch = record.epoch /\ view[m].role = "standby" }

\* planner.holding, planner.marked
Holding(set, voters) == { m \in voters : m = Primary \/ (view[m].role /= "none" /\ set \subseteq view[m].log) }

\* planner.mayServe (I7): nothing waits, and what it holds is on a write quorum; or it has served in this epoch.
MayServe ==
  \/ view[Primary].served = record.epoch
  \/ /\ Leading /\ view[Primary].waiting = {}
     /\ Cardinality(Holding(view[Primary].log, Voters)) >= W(Cardinality(Voters))

-----------------------------------------------------------------------------
Blank == [role |-> "none", epoch |-> 0, promised |-> 0, served |-> 0, rec |-> Nothing, serving |-> FALSE, acks |-> 0,
          admitted |-> {}, acking |-> FALSE, source |-> None, log |-> {}, waiting |-> {}]

Init ==
  /\ record = [epoch |-> 1, primary |-> First, voters |-> Founders, add |-> None, remove |-> None]
  /\ me = [m \in Members |-> Blank]
  /\ view = me
  /\ box = [m \in Members |-> Nothing]
  /\ mark = NoMark /\ asked = FALSE /\ doomed = FALSE
  /\ made = 0 /\ acked = {} /\ opened = {}

\* --- What members do by themselves.

Obey(m, d) ==  \* what the member is once it has done what it was told
  LET kept == [me[m] EXCEPT !.promised = d.epoch, !.rec = d.rec, !.epoch = d.epoch]
      \* A source that is told something else is killed; its recovery commits what waited.
      quiet == [kept EXCEPT !.role = "standby", !.serving = FALSE, !.acks = 0, !.admitted = {},
                            !.acking = FALSE, !.source = None, !.log = Holds(m), !.waiting = {}]
  IN CASE d.role = "standby" -> quiet
       [] d.role = "replica" -> [quiet EXCEPT !.role = "replica", !.acking = d.acking, !.source = d.source]
       [] d.role = "clone" -> [quiet EXCEPT !.log = me[d.source].log]
       [] d.role = "primary" -> [kept EXCEPT !.role = "primary", !.serving = d.serve, !.acks = d.acks, !.admitted = d.admitted,
                                             !.source = None, !.acking = FALSE, !.served = IF d.serve THEN d.epoch ELSE @]

\* Whom a primary admits anew gets a new password. Who knows an old one only, or is told one, does not get in by it.
Strangers(m, d) ==
  IF d.role /= "primary" THEN {}
  ELSE IF me[m].role = "primary" /\ me[m].epoch = d.epoch THEN d.admitted \ me[m].admitted
  ELSE d.admitted

\* A member obeys no directive of an epoch below its promise (I1, I11). One that was restarted since it served an epoch does
\* not lead that epoch again (I7).
Accept(m) ==
  /\ box[m].is
  /\ LET d == box[m]
         new == Strangers(m, d)
     IN /\ d.epoch >= me[m].promised
        /\ d.role = "primary" => (me[m].role = "primary" \/ me[m].served < d.epoch)
        /\ d.role = "clone" => (me[d.source].role = "primary" /\ me[d.source].epoch = d.epoch)
        /\ me' = [n \in Members |->
                    IF n = m THEN Obey(m, d)
                    ELSE IF n \in new /\ me[n].source = m THEN [me[n] EXCEPT !.source = None]
                    ELSE me[n]]
        /\ box' = [n \in Members |->
                    IF n = m \/ (n \in new /\ box[n].is /\ box[n].role = "replica") THEN Nothing ELSE box[n]]
        /\ opened' = IF d.role = "primary" /\ d.serve /\ ~me[m].serving THEN me[m].log ELSE opened
  /\ UNCHANGED <<record, view, mark, asked, doomed, made, acked>>

\* SIGKILL and the start after it: what waited is committed by recovery.
Restart(m) ==
  /\ me[m].role /= "none"
  /\ me' = [me EXCEPT ![m].role = "none", ![m].serving = FALSE, ![m].acking = FALSE, ![m].admitted = {}, ![m].acks = 0,
                      ![m].source = None, ![m].log = Holds(m), ![m].waiting = {}]
  /\ UNCHANGED <<record, view, box, mark, asked, doomed, made, acked, opened>>

Write(m) ==
  /\ me[m].serving /\ made < MaxTx
  /\ made' = made + 1
  /\ me' = [me EXCEPT ![m].waiting = @ \cup {made'}]
  /\ UNCHANGED <<record, view, box, mark, asked, doomed, acked, opened>>

Fetch(r, p) ==
  /\ Attached(r, p)
  /\ \E t \in Holds(p) \ me[r].log :
       /\ \A u \in Holds(p) \ me[r].log : t <= u
       /\ me' = [me EXCEPT ![r].log = @ \cup {t}]
  /\ UNCHANGED <<record, view, box, mark, asked, doomed, made, acked, opened>>

\* AFTER_SYNC: a commit is answered when enough replicas that acknowledge have it.
Commit(p) ==
  /\ me[p].role = "primary"
  /\ \E t \in me[p].waiting :
       /\ Cardinality({ r \in Members : Attached(r, p) /\ me[r].acking /\ t \in me[r].log }) >= me[p].acks
       /\ me' = [me EXCEPT ![p].waiting = @ \ {t}, ![p].log = @ \cup {t}]
       /\ acked' = acked \cup {t}
  /\ UNCHANGED <<record, view, box, mark, asked, doomed, made, opened>>

\* --- What the operator does. Members say how they are at any time, or not at all.

\* Marker.Note: what it remembers when the record is r and what was heard is v.
Note(r, v) ==
  LET same == r.add /= None /\ r.add = record.add /\ r.epoch = record.epoch
      before == same /\ doomed
      raised == r.add /= None /\ AcksIn(r, v, before) = Larger(r)
      now == \/ before
             \/ same /\ asked /\ ~raised
             \/ r.add /= None /\ LeadingIn(r, v) /\ ~FollowingIn(r, v, r.add)
  IN /\ doomed' = now
     /\ asked' = ((same /\ asked) \/ raised)
     /\ mark' = IF ~ChangeInForceIn(r, v, now) THEN NoMark
                ELSE IF mark.is THEN mark ELSE [is |-> TRUE, set |-> v[r.primary].log]

Report(m) ==
  LET v == [view EXCEPT ![m] = me[m]]
  IN /\ view' = v
     /\ Note(record, v)
     /\ UNCHANGED <<record, me, box, made, acked, opened>>

Directive(role, epoch) ==
  [is |-> TRUE, rec |-> record, role |-> role, epoch |-> epoch,
   acks |-> 0, admitted |-> {}, serve |-> FALSE, source |-> None, acking |-> FALSE]

Tell(m, d) ==
  /\ view[m].promised <= d.epoch
  /\ box' = [box EXCEPT ![m] = d]
  /\ UNCHANGED <<record, me, view, mark, asked, doomed, made, acked, opened>>

TellPrimary ==
  Tell(Primary, [Directive("primary", record.epoch) EXCEPT !.acks = Acks, !.admitted = Admitted, !.serve = MayServe])

\* Who has what the primary has not must not follow (I6).
TellReplica(m) ==
  /\ m /= Primary /\ Leading /\ m \in view[Primary].admitted \cap Admitted
  /\ view[m].log \subseteq view[Primary].log \cup view[Primary].waiting
  /\ Tell(m, [Directive("replica", record.epoch) EXCEPT
                !.source = Primary, !.acking = (m \in Voters \/ (m = record.add /\ Cardinality(Voters) = 1))])

TellStandby(m) ==
  /\ m /= Primary
  /\ Tell(m, Directive("standby", record.epoch))

\* No voter is ever cloned over (I9).
TellClone(m) ==
  /\ m \notin Voters /\ m /= record.add /\ Leading /\ view[Primary].serving
  /\ Tell(m, [Directive("clone", record.epoch) EXCEPT !.source = Primary])

Fence(m, e) ==
  /\ m \in Voters /\ e > record.epoch
  /\ Tell(m, Directive("standby", e))

\* Every change of the record is one atomic write, from the record that was read.
Put(r) ==
  /\ record' = r
  /\ Note(r, view)
  /\ UNCHANGED <<me, view, box, made, acked, opened>>

\* A read quorum is fenced, and the candidate holds everything that any of it holds (I3).
Promote(c, e) ==
  LET fenced == { m \in Voters : view[m].role = "standby" /\ view[m].epoch = e /\ view[m].promised = e }
  IN /\ e > record.epoch
     /\ Cardinality(fenced) >= R(Cardinality(Voters))
     /\ c \in fenced /\ \A m \in fenced : view[m].log \subseteq view[c].log
     /\ Put([record EXCEPT !.epoch = e, !.primary = c, !.add = None, !.remove = None])

Quiet == record.add = None /\ record.remove = None /\ Leading /\ view[Primary].rec = record

BeginAdd(m) ==
  /\ Quiet /\ view[Primary].serving /\ m \notin Voters /\ Following(m) /\ m \in view[Primary].admitted
  /\ Put([record EXCEPT !.add = m])

BeginRemove(m) ==
  /\ Quiet /\ m \in Voters \ {Primary}
  /\ Put([record EXCEPT !.remove = m])

\* The larger set counts once commits wait for its quorum and the new voter holds what came before.
CompleteAdd ==
  /\ record.add /= None /\ mark.is /\ InForce /\ ~Gone(record.add) /\ view[record.add].rec = record
  /\ mark.set \subseteq view[record.add].log
  /\ Cardinality(Voters) > 1 \/ view[record.add].acking
  /\ Put([record EXCEPT !.voters = @ \cup {record.add}, !.add = None])

\* The smaller one counts once the leaver is shut out and a write quorum of the rest holds what it may have acknowledged.
CompleteRemove ==
  /\ record.remove /= None /\ mark.is /\ ChangeInForceIn(record, view, doomed)
  /\ LET rest == Voters \ {record.remove}
     IN /\ Cardinality(Holding(mark.set, rest)) >= W(Cardinality(rest))
        /\ Put([record EXCEPT !.voters = rest, !.remove = None])

\* Who was to enter may acknowledge already: it is shut out first.
GiveUpAdd ==
  /\ record.add /= None /\ Gone(record.add) /\ InForce /\ record.add \notin view[Primary].admitted
  /\ Put([record EXCEPT !.add = None])

Next ==
  \/ \E m \in Members :
       \/ Accept(m) \/ Restart(m) \/ Write(m) \/ Commit(m) \/ Report(m)
       \/ TellReplica(m) \/ TellStandby(m) \/ TellClone(m) \/ BeginAdd(m) \/ BeginRemove(m)
       \/ \E p \in Members : Fetch(m, p)
       \/ \E e \in 2..MaxEpoch : Fence(m, e) \/ Promote(m, e)
  \/ TellPrimary \/ CompleteAdd \/ CompleteRemove \/ GiveUpAdd

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
\* The invariants, by their names in topology/doc.go.

I1 == \A m, n \in Members :
        /\ (me[m].serving /\ me[n].serving /\ me[m].epoch = me[n].epoch) => m = n
        /\ (me[m].serving /\ me[m].epoch = record.epoch) => m = Primary

OnQuorum(t) == Cardinality({ m \in Voters : t \in Holds(m) }) >= W(Cardinality(Voters))

I2 == \A t \in acked : OnQuorum(t)

I3 == \A m \in Members : (me[m].serving /\ me[m].epoch = record.epoch) => acked \subseteq Holds(m)

I7 == \A m \in Members : (me[m].serving /\ me[m].epoch = record.epoch) => \A t \in opened : OnQuorum(t)

I9 == [][\A m \in Voters : me[m].log \subseteq me'[m].log]_vars

I11 == [][\A m \in Members : me[m].promised <= me'[m].promised]_vars

I12 == \A m \in Members : (me[m].role = "replica" /\ me[m].epoch = record.epoch) => me[m].source \in {Primary, None}
=============================================================================
