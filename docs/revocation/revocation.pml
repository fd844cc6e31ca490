/*
 * The revocation protocol of Signet, for the model checker Spin (https://spinroot.com). README.md beside this file explains
 * the protocol, model.md the model, its bounds, and what every run has found. check.sh ("make model") runs them all.
 *
 * Checked:  P1, P4  after a revocation or a cut-off was acknowledged, no introspection that STARTS later answers active
 *           grow    Redis never calls anything inactive that PostgreSQL does not: nothing issued after a cut-off dies
 *
 * By hand:
 *   spin -a -DNRID=1 revocation.pml && gcc -w -O3 -DSAFETY -DHC4 -o pan pan.c && ./pan -m200000 -w25
 * A negative control, with the shortest trace:
 *   spin -a -DNRID=1 -DSHORTEST -DBAD_NOXX revocation.pml && gcc -w -O2 -DSAFETY -DBFS -DHC4 -o pan pan.c && ./pan
 *   spin -t -p -l -DNRID=1 -DSHORTEST -DBAD_NOXX revocation.pml
 *
 * What stands for what
 *   time      countdowns in ticks (lease, fence). Time() may tick at any moment and every process may be arbitrarily slow, so
 *             a pause (garbage collection, SIGSTOP, scheduler) is possible between any two steps.
 *   death     of a process: it makes no further step. Nothing waits for it, except for the advisory lock (PGKILLS, NOLOCK).
 *   PG        one atomic step = one transaction. A lost commit reply = the effect, and then nothing more.
 *   Redis     two server slots: a zombie old primary is slot 0 still alive while slot 1 is the new primary. With every command
 *             a replica may reach any live slot, so every partition and split view is among the runs. Every command may fail
 *             without effect, have its effect and lose its reply, or (LATE) arrive late.
 *   bits      bit 0 is a token that was revoked and acknowledged long ago. Bits 1 and 2 are what is taken back in the run:
 *             a token, or all tokens of a client of one generation. A cut-off member "generation 3" is the set of the bits of
 *             all lower generations, so that ZADD LT is a union.
 *
 * Switches of size: L MARGIN NREP NRID GMAX FLUSHES PGKILLS, see below. What is asked: REQ0 REQ1 REQ2, each REVOKE, CUTOFF
 * or BACKGROUND (somebody's lease loop that confirms what was left behind); SAME (all are about one subject), RAISES (each
 * cut-off raises one subject once more). Harder worlds: LATE, SNAP (restarts may load an old snapshot), PAUSE (between lease
 * check and read), NOLOCK, PGKILLS, ANYGEN (trust is published and withdrawn whatever the generation), SPLITREAD (cut-offs
 * and trust row not read at one moment), SPLITBEGIN (a pause between pending marker and snapshot), COALESCE (checks share
 * queries of PostgreSQL; those of Redis are PAUSE: between the look at its lease and the read, a check waits for the round
 * trip that it shares).
 * GRACE makes leases longer than the fence; with REDISOK no write to Redis fails.
 * BAD_* and ENV_* are negative controls and must fail. SEE=n must fail, too: it shows that a behaviour is reached.
 */
#ifndef L
#define L 1                 /* lease, ticks */
#endif
#ifndef GRACE
#define GRACE 0             /* how much longer the leases of a replica without PostgreSQL count */
#endif
#ifndef MARGIN
#define MARGIN 0
#endif
#define LEASE (L+GRACE)
#ifdef BAD_NOFENCE
#define FENCE 0
#else
#define FENCE (L+MARGIN)
#endif
#ifndef NREP
#define NREP 2              /* replicas */
#endif
#ifndef NRID
#define NRID 2              /* identities of Redis over the whole run */
#endif
#ifndef GMAX
#define GMAX 3              /* generations over the whole run (1 at the start; rebuilds and withdrawals use them up), up to 4 */
#endif
#ifndef FLUSHES
#define FLUSHES 1           /* FLUSHALL or eviction of the key */
#endif
#ifndef PGKILLS
#define PGKILLS 0           /* times the advisory lock vanishes under its holder */
#endif
#ifndef LATE
#define LATE 0              /* 1: commands may arrive late, one at a time on its way */
#endif
#ifndef SEE
#define SEE 0
#endif

#define REVOKE     1
#define CUTOFF     2
#define BACKGROUND 3
#ifndef REQ0
#define REQ0 REVOKE
#endif
#ifndef REQ1
#define REQ1 REVOKE
#endif
#ifndef REQ2
#define REQ2 0
#endif
#define KIND(i) ((i) == 0 -> REQ0 : ((i) == 1 -> REQ1 : REQ2))
#if REQ2
#define NREQ 3
#else
#define NREQ 2
#endif

#define BIT(j) (1<<(j))
/* what request i takes back, and what there is to cut off at all */
#if defined(SAME)
#define MINE(i) BIT(1)
#define CUTBITS BIT(1)
#elif defined(RAISES)
#define MINE(i) (BIT(1) | ((row & BIT(1)) << 1))
#define CUTBITS (BIT(1) | BIT(2))
#else
#define MINE(i) ((i) > 0 -> BIT(2) : BIT(1))
#define CUTBITS ((REQ0 == CUTOFF -> BIT(1) : 0) | (REQ1 == CUTOFF -> BIT(2) : 0))
#endif

/* ---- PostgreSQL ---- */
byte row = 1;                         /* committed revocations and cut-offs */
byte unconf;                          /* those of the cut-offs that nobody has confirmed */
byte w = 1, rd = 1, gen = 1;          /* the trust row: write_id, read_id, generation */
bit settled = 1;                      /* every lease of an older generation is known to be dead */
#define NOBODY 255
#ifndef NOLOCK
byte lock = NOBODY;                   /* the advisory lock of rebuilds; PGKILLS times it vanishes under its holder */
#define LOCKFREE (lock == NOBODY)
#define TAKELOCK lock = r
#define FREELOCK if :: lock == r -> lock = NOBODY :: else fi
#else                                 /* without it: more behaviours, safety must not hang on it */
#define LOCKFREE true
#define TAKELOCK skip
#define FREELOCK skip
#endif
#ifdef ANYGEN
#define STILL(g) true
#else
#define STILL(g) (gen == (g))
#endif

/* ---- Redis ---- */
#define KEY(s,i) ((s)*(NRID+1)+(i))
byte srv[2];                          /* identity of the server in the slot, 0 = none */
byte k[2*(NRID+1)];                   /* members of key signet:rev:{identity}, per slot */
byte m[2*(NRID+1)];                   /* markers in that key: bit g-1 complete, bit g+3 pending */
byte nid = 1;
byte snap_id, snap_k, snap_m;         /* one old copy of the data set (RDB file, or a replica that lags) */
byte late_op, late_s, late_id, late_x;/* one command still on its way */
#define BEGIN  1
#define ADD    2
#define FINISH 3
byte flushes, pgkills;

#ifdef BAD_BAREMARKER                 /* a marker that names no generation, and is set whether or not anything is there */
#define COMPLETE(g) 1
#define PENDING(g)  0
#else
#define COMPLETE(g) BIT((g)-1)
#define PENDING(g)  BIT((g)+3)
#endif
#if defined(BAD_BAREMARKER) || defined(BAD_NOXX)
#define PENDS(x,g) true
#else
#define PENDS(x,g) (m[x] & PENDING(g))
#endif

/* ---- replicas ---- */
byte left[NREP], lid[NREP], lgen[NREP];   /* lease: ticks left, identity, generation */
byte pend[NREP];                      /* lease being obtained: ticks left, counted from the read of the trust row */
byte wt[NREQ];                        /* what a request still has to wait */

byte acked = 1;                       /* history: what was acknowledged */
#ifdef SHORTEST                       /* breadth-first search does not allow 'hidden' */
byte s;
#else
hidden byte s;
#endif

/* ---- one command, for the key of identity i ------------------------------------------------------------------------
 * A sound client proves with every reply, after the command and on its connection, which identity executed it. A command
 * that lands elsewhere can only make or fill a key that nobody reads, so it is modelled as a failure.                   */
#if defined(BAD_NOPROOF) || defined(BAD_POOLWIDE)
#define LIVE(i) (srv[0] || srv[1])
inline send(i) { if :: srv[0] -> s = 0 :: srv[1] -> s = 1 fi }
#define PROVEN(i) true
#else
#define LIVE(i) (srv[0] == (i) || srv[1] == (i))
inline send(i) { if :: srv[0] == (i) -> s = 0 :: srv[1] == (i) -> s = 1 fi }
#define PROVEN(i) (srv[s] == (i))
#endif

inline begin(x, g) {                  /* MULTI; UNLINK; ZADD 0 marker; EXEC */
  m[x] = PENDING(g);
#ifndef BAD_UNLINKLATE
  k[x] = 0
#endif
}
inline finish(x, g) { m[x] = (m[x] & ~PENDING(g)) | COMPLETE(g) }   /* ZADD XX 1 marker, where PENDS(x, g) */
#ifdef BAD_NOLT
inline add(x, u) { k[x] = (k[x] & ~CUTBITS) | (u) }                 /* ZADD without LT */
#else
inline add(x, u) { k[x] = k[x] | (u) }
#endif
inline later(i, op, x) {              /* the command is on its way, and its sender does not wait for it */
  late_op = op; late_id = i; late_x = x;
  if :: srv[0] == (i) -> late_s = 0 :: srv[1] == (i) -> late_s = 1 fi
}
#define MAYLATE(i) (LATE && !late_op && LIVE(i))

/* ---- revocation and cut-off ---------------------------------------------------------------------------------------- */
#define READTRUST lw = w; g = gen; wt[i] = (settled -> 0 : FENCE)

proctype Request(byte i) {
  byte u;                             /* what is to be brought to Redis */
  byte lw, g;                         /* the trust row as this request saw it */
start:
#ifdef BAD_TRUSTFIRST
  atomic { if :: KIND(i) == CUTOFF -> READTRUST :: else fi };
#endif
#ifdef BAD_LOOKFIRST
  atomic { if :: KIND(i) == CUTOFF && !unconf -> u = 1 :: else fi };
#endif
#ifdef BAD_MEMBERFIRST
  atomic { if :: KIND(i) == CUTOFF && w && LIVE(w) -> send(w); u = MINE(i); add(KEY(s,w), u); u = 0 :: else fi };
#endif
  atomic {
    if
    :: KIND(i) == REVOKE ->           /* one transaction: the row, and the trust row FOR SHARE */
#ifdef BAD_RETRY
       if :: row & MINE(i) -> acked = acked | MINE(i); goto done :: else fi;
#endif
#ifdef BAD_NOSHARE
       READTRUST
#else
       u = MINE(i); row = row | u; READTRUST
#endif
    :: KIND(i) == CUTOFF ->           /* the admin's change. Somebody else's attempt may have done it already */
       if
       :: (row & MINE(i)) == MINE(i) ->
#ifdef BAD_CUTRETRY
            acked = acked | MINE(i); goto done
#endif
#ifdef BAD_LOOKFIRST
            if :: u == 1 -> acked = acked | MINE(i); goto done :: else fi
#endif
            skip
       :: else ->
            row = row | MINE(i);
#ifdef RAISES
            unconf = row & CUTBITS
#else
            unconf = unconf | MINE(i)
#endif
       fi;
       u = 0
    :: KIND(i) == BACKGROUND && unconf -> skip
    fi
  }
#ifdef BAD_NOSHARE
  atomic { if :: KIND(i) == REVOKE -> u = MINE(i); row = row | u :: else fi };
#endif
  /* cut-offs: the confirmation begins. One transaction: all that are unconfirmed, with the trust row FOR SHARE */
  atomic {
    if
    :: KIND(i) != REVOKE ->
       u = unconf;
       acked = acked | (row & CUTBITS & ~unconf);   /* who finds his own confirmed answers at once */
#if SEE == 8
       assert(u);                     /* somebody else has confirmed it */
#endif
       if :: u == 0 -> goto done :: else fi;
#ifdef BAD_MARKFIRST
       unconf = 0;
#endif
#if !defined(SPLITREAD) && !defined(BAD_TRUSTFIRST)
       READTRUST
#endif
    :: else
    fi
  }
#ifdef SPLITREAD
  atomic { if :: KIND(i) != REVOKE -> READTRUST :: else fi };
#endif
write:
  if
  :: atomic { lw == 0 -> goto wait }
  :: atomic { lw && LIVE(lw) -> send(lw); add(KEY(s,lw), u);
#ifdef BAD_POOLWIDE
       goto aftercheck
#elif defined(REDISOK)
       goto wait
#else
       if
       :: PROVEN(lw) -> goto wait
       :: goto withdraw               /* reply lost, or not proven */
       fi
#endif
     }
#ifndef REDISOK
  :: atomic { lw && MAYLATE(lw) -> later(lw, ADD, u) }
  :: lw != 0                          /* no effect, error */
#endif
  fi;
#ifdef BAD_POOLWIDE
  goto withdraw;
aftercheck:                           /* the identity is in a variable that any new connection of the pool writes */
  if :: atomic { srv[0] == lw || srv[1] == lw -> goto wait } :: skip fi;
#endif
withdraw:                             /* where somebody else was faster: go by the row as it is now */
#ifdef BAD_FENCEEARLY
  wt[i] = FENCE;                      /* counted from here, and the commit takes its time */
#endif
  if
  :: atomic { STILL(g) && gen < GMAX -> w = 0; rd = 0; gen++; settled = 0;
#ifdef BAD_FENCEEARLY
       lw = w; g = gen
#else
       READTRUST
#endif
     }
  :: atomic { !STILL(g) ->
#if SEE == 6
       assert(!w);                    /* there is another set to write to */
#endif
       READTRUST; goto write }
  :: atomic { goto done }             /* 503 */
  fi;
wait:
  atomic { wt[i] == 0 -> assert((row & u) == u);
#if SEE == 1
    assert(!(lw && g == 1));          /* through Redis, nothing withdrawn */
#elif SEE == 2
    assert(lw || g == 1);             /* with write_id empty */
#elif SEE == 7
    assert(KIND(i) != BACKGROUND);    /* confirmed by a lease loop */
#endif
    if :: g == gen -> settled = 1 :: true fi;       /* settle, or fail to */
    if :: KIND(i) == REVOKE -> acked = acked | u; goto done :: else fi
  }
  /* cut-offs: mark as confirmed what was not raised since. The acknowledgement is never before the mark */
  atomic {
#if defined(BAD_MARKRAISED)
    unconf = 0;
#elif defined(RAISES)
    if :: unconf == u -> unconf = 0 :: else fi;
#else
    unconf = unconf & ~u;
#endif
    acked = acked | u
  }
done:
  atomic { wt[i] = 0; u = 0; lw = 0; g = 0;
    if :: KIND(i) == BACKGROUND -> goto start :: else fi }
}

/* ---- lease and rebuild loop of one replica -------------------------------------------------------------------------- */
proctype Loop(byte r) {
  byte id, g, sn;
idle:
  /* read trust; a lease is dated here (the real one is dated a moment before, which is shorter) */
  atomic { id = (w == rd -> w : 0); g = gen; pend[r] = (id -> LEASE : 0) }
  if
  :: atomic { srv[0] || srv[1];
       if :: srv[0] -> s = 0 :: srv[1] -> s = 1 fi;
       if
       :: id != 0 && id == srv[s] && (m[KEY(s,id)] & COMPLETE(g)) ->
#ifdef BAD_LATEDATE
            pend[r] = LEASE;
#endif
            left[r] = pend[r];
            lid[r] = (left[r] -> id : 0);
            lgen[r] = (left[r] -> g : 0);
            pend[r] = 0; id = 0; g = 0; goto idle
       :: true ->                            /* also where the look failed, and the server says a moment later who it is */
            pend[r] = 0; id = srv[s];
            left[r] = 0; lid[r] = 0; lgen[r] = 0
       fi }
  :: atomic { pend[r] = 0; id = 0; g = 0; goto idle }
  fi;
  /* rebuild: publish where to write, nobody may read */
  if
  :: atomic { STILL(g) && gen < GMAX && LOCKFREE -> TAKELOCK; w = id; gen++; g = gen; settled = 0;
#ifdef BAD_ONEFIELD
       rd = id
#else
       rd = 0
#endif
     }
  :: atomic { id = 0; g = 0; goto idle }
  fi;
  /* empty the key and write the pending marker of this generation; then the snapshot of PostgreSQL. One step for both is no
   * loss: what happens between them in Redis may as well happen after both, and a row that is committed between them may as
   * well be committed before both, because a row is the first step of whoever writes it. SPLITBEGIN shows it.              */
  if
  :: atomic { LIVE(id) -> send(id); begin(KEY(s,id), g);
#ifndef SPLITBEGIN
#ifdef BAD_SNAPCONFIRMED
       sn = row & ~unconf;
#else
       sn = row;
#endif
#endif
#ifdef BAD_TWICE
       if :: !late_op -> late_op = BEGIN; late_s = s; late_id = id; late_x = g :: true fi;   /* the client repeats it */
#endif
       if :: PROVEN(id) :: sn = 0; goto giveup fi }
  :: atomic { !LIVE(id) -> goto giveup }
  :: atomic { MAYLATE(id) -> later(id, BEGIN, g); goto giveup }
  fi;
#ifdef SPLITBEGIN
  sn = row;
#endif
#ifdef BAD_UNLINKLATE
  atomic { if :: LIVE(id) -> send(id); k[KEY(s,id)] = 0 :: else -> goto giveup fi };
#endif
  /* the entries */
  if
  :: atomic { LIVE(id) -> send(id); add(KEY(s,id), sn);
       if :: PROVEN(id) :: goto giveup fi }
  :: atomic { !LIVE(id) -> goto giveup }
  :: atomic { MAYLATE(id) -> later(id, ADD, sn); goto giveup }
  fi;
  /* complete the marker, which must still be there */
  if
  :: atomic { LIVE(id) -> send(id);
       if
       :: PENDS(KEY(s,id), g) -> finish(KEY(s,id), g); if :: PROVEN(id) :: goto giveup fi
       :: else -> goto giveup
       fi }
  :: atomic { !LIVE(id) -> goto giveup }
  :: atomic { MAYLATE(id) -> later(id, FINISH, g); goto giveup }
  fi;
  if :: atomic { gen == g && w == id -> rd = id } :: skip fi;
giveup:
  atomic { FREELOCK; id = 0; g = 0; sn = 0; goto idle }
}

/* ---- introspection --------------------------------------------------------------------------------------------------
 * One after the other. Starting and looking at the lease are one step: an introspection that began earlier and looks now is
 * no better than one that begins now, because acknowledgements are never taken back. Without a lease PostgreSQL answers, and
 * acked implies row (asserted where acked is set), so there is nothing to search: except for who shares a query, below.     */
#if SEE == 0
#define CANDIDATE(j) (acked & BIT(j))
#else
#define CANDIDATE(j) true
#endif
proctype Introspect() {
  byte r, j, id, g;
  do
  :: atomic {
       if :: left[0] -> r = 0 :: left[1] -> r = 1
#if NREP > 2
       :: left[2] -> r = 2
#endif
       fi;
       if :: CANDIDATE(0) -> j = 0 :: CANDIDATE(1) -> j = 1 :: CANDIDATE(2) -> j = 2 fi;
       id = lid[r]; g = lgen[r];
       r = 0                                 /* from here on only the lease matters */
#ifdef PAUSE
     };
     /* any pause here; then the one round trip */
     if
     :: atomic {
#endif
          if :: LIVE(id) -> send(id) :: else -> goto done fi;
          if :: PROVEN(id) && (m[KEY(s,id)] & COMPLETE(g)) :: else -> goto done fi;   /* on to PostgreSQL */
          assert(!(k[KEY(s,id)] & ~row));    /* grow: inactive is never said of what nobody took back */
#ifdef BAD_JOINSET
          r = k[KEY(s,id)] };                /* a check that starts now joins this round trip, which has been in Redis */
     if
     :: atomic { (left[0] && lid[0] == id && lgen[0] == g) || (left[1] && lid[1] == id && lgen[1] == g) ->
          if :: CANDIDATE(0) -> j = 0 :: CANDIDATE(1) -> j = 1 :: CANDIDATE(2) -> j = 2 fi;
          assert(r & BIT(j)); goto done }
     :: atomic { true -> goto done }
     fi;
     atomic {
#endif
          if
          :: !(k[KEY(s,id)] & BIT(j)) ->
#if SEE == 3
               assert(row & BIT(j));         /* active through Redis, first identity */
#elif SEE == 4
               assert((row & BIT(j)) || g == 1);    /* active through Redis, rebuilt */
#elif SEE == 5
               assert((row & BIT(j)) || id == 1);   /* active through Redis, rebuilt after a restart */
#elif SEE == 0
               assert(false)                 /* P1, P4 broken */
#else
               skip
#endif
          :: else                            /* inactive */
          fi; goto done }
#ifdef PAUSE
     :: atomic { true -> goto done }
     fi;
#endif
done:  atomic { r = 0; j = 0; id = 0; g = 0 }
  od
}

#ifdef COALESCE
/* Checks without a lease share queries of PostgreSQL: each joins those who wait, and a query takes all of them when it
 * begins. Bits: the tokens that are asked for, of those that were acknowledged when their check began.                   */
byte waiting, asked, seen;
bit began, looked;
proctype Queries() {
  do
  :: atomic { acked & ~waiting -> waiting = acked
#if SEE == 9
       ; assert(!began)                      /* a check that arrives during a query */
#endif
     }
#ifdef BAD_JOIN
  :: atomic { began && (acked & ~asked) -> asked = acked }   /* joins the query that is running */
#endif
  :: atomic { !began && waiting -> began = 1; asked = waiting; waiting = 0 }
  :: atomic { began && !looked -> looked = 1; seen = row }
  :: atomic { looked -> assert(!(asked & ~seen)); began = 0; looked = 0; asked = 0; seen = 0 }
  od
}
#endif

/* ---- everything that can happen to the stores -------------------------------------------------------------------------- */
inline loadsnap(x) {                         /* a new server: empty, or from an old snapshot */
  if
  :: true
  :: snap_id -> k[KEY(x,snap_id)] = snap_k; m[KEY(x,snap_id)] = snap_m
  fi
}
#ifdef BAD_NOID
#define NEWID 1
#else
#define NEWID nid
#endif
proctype Faults() {
  do
  :: atomic { nid < NRID && srv[1] == 0 -> nid++;             /* kill and restart */
       d_step {
       srv[0] = NEWID;
       k[KEY(0,1)] = 0; m[KEY(0,1)] = 0; k[KEY(0,NRID)] = 0; m[KEY(0,NRID)] = 0;
#if NRID > 2
       k[KEY(0,2)] = 0; m[KEY(0,2)] = 0;
#endif
       late_op = 0; late_s = 0; late_id = 0; late_x = 0 }
       loadsnap(0) }
  :: atomic { nid < NRID && srv[1] == 0 -> nid++;             /* failover; the old primary lives on as a zombie */
       srv[1] = NEWID; loadsnap(1) }
  :: d_step { flushes < FLUSHES && k[KEY(0,srv[0])] + m[KEY(0,srv[0])] > 0 -> flushes++;
       k[KEY(0,srv[0])] = 0; m[KEY(0,srv[0])] = 0 }
  :: d_step { flushes < FLUSHES && srv[1] && k[KEY(1,srv[1])] + m[KEY(1,srv[1])] > 0 -> flushes++;
       k[KEY(1,srv[1])] = 0; m[KEY(1,srv[1])] = 0 }
#ifdef SNAP
  :: d_step { !snap_id && nid < NRID -> snap_id = srv[0]; snap_k = k[KEY(0,srv[0])]; snap_m = m[KEY(0,srv[0])] }
#endif
#ifdef ENV_RESYNC
  :: d_step { snap_id && snap_id == srv[0] ->                 /* demoted and resynchronised: old data, SAME identity */
       k[KEY(0,snap_id)] = snap_k; m[KEY(0,snap_id)] = snap_m; snap_id = 0; snap_k = 0; snap_m = 0 }
#endif
#ifndef NOLOCK
  :: d_step { pgkills < PGKILLS && lock != NOBODY -> pgkills++; lock = NOBODY }
#endif
#if LATE || defined(BAD_TWICE)
  :: d_step { late_op ->                                      /* arrives on the connection that it was sent on */
       if
       :: srv[late_s] == late_id && late_op == BEGIN -> begin(KEY(late_s,late_id), late_x)
       :: srv[late_s] == late_id && late_op == ADD -> add(KEY(late_s,late_id), late_x)
       :: srv[late_s] == late_id && late_op == FINISH && PENDS(KEY(late_s,late_id), late_x) -> finish(KEY(late_s,late_id), late_x)
       :: else
       fi;
       late_op = 0; late_s = 0; late_id = 0; late_x = 0 }
#endif
  od
}

inline dec(x) { if :: x > 0 -> x-- :: else fi }
inline declease(r) { dec(left[r]); dec(pend[r]); if :: left[r] == 0 -> lid[r] = 0; lgen[r] = 0 :: else fi }
proctype Time() {
  do
  :: atomic {
       declease(1);
#ifdef ENV_SUSPEND
       if :: declease(0) :: true fi;         /* replica 0's clock stood still (a suspended machine) */
#else
       declease(0);
#endif
#if NREP > 2
       declease(2);
#endif
#if NREQ > 2
       dec(wt[2]);
#endif
       dec(wt[0]); dec(wt[1]) }
  od
}

init {
  atomic {
    srv[0] = 1;
    k[KEY(0,1)] = 1; m[KEY(0,1)] = COMPLETE(1);   /* healthy start: identity 1, generation 1, token 0 revoked long ago */
    run Time(); run Faults(); run Introspect();
#ifdef COALESCE
    run Queries();
#endif
    run Loop(0); run Loop(1);
#if NREP > 2
    run Loop(2);
#endif
    run Request(0); run Request(1);
#if NREQ > 2
    run Request(2);
#endif
  }
}
