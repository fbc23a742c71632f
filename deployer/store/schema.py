"""The tables of the store, as numbered migrations: applied in order, all in one transaction.

Before the first version is released there is one of them, which is edited in place. What was released is never edited.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    create table meta (key text primary key, value text not null);

    create table services (
        name text primary key,
        stable integer not null default 0,        -- release that was promoted last
        warm integer not null default 0,          -- release that is kept ready, 0 for none
        warm_colour text not null default '',
        warm_until real not null default 0,
        contracted integer not null default 0     -- the contract of this release has begun: none before it comes back
    );

    -- How many instances on each host a person wants of a service, whatever its manifest says.
    create table sizes (
        service text primary key,
        instances integer not null,
        until real not null,                      -- 0: until somebody says another one
        by text not null,
        reason text not null,
        at real not null
    );

    -- How many instances a service needs on all hosts together by its load, where its manifest has `scale`.
    create table needs (
        service text primary key, instances integer not null, why text not null, at real not null
    );

    -- How many requests at once an instance of a service is known to answer well, where its `concurrency` is learned.
    create table concurrencies (
        service text primary key, requests integer not null, why text not null, at real not null);

    -- What a keeper saw of a load in five minutes: request-seconds that instances had room for, and that there were.
    create table loads (
        service text not null, at real not null,
        seconds real not null, asleep real not null,    -- that were looked at, and of those asleep
        instances real not null, room real not null, busy real not null, peak integer not null,
        primary key (service, at)
    );

    create table releases (
        service text not null,
        number integer not null,
        version text not null,
        image text not null,
        image_id text not null,
        manifest text not null,
        config_hash text not null,
        git text not null,
        created_at real not null,
        created_by text not null,
        message text not null,
        status text not null default 'new',
        signature text not null default '',       -- what was proven of the image, as JSON
        hosts text not null default '',           -- of the inventory, as JSON; '' is this one
        alone integer not null default 0,         -- it must not run beside another release
        primary key (service, number)
    );

    create table rollouts (
        number integer primary key autoincrement,
        service text not null,
        strategy text not null,
        origin integer not null,
        release integer not null,
        plan text not null,
        phase text not null default 'forward',    -- forward | back
        outcome text not null default '',         -- '' while open; paused is open too
        exit integer not null default 0,
        text text not null default '',
        folder text not null default '',          -- of the manifest: playbooks are found from here
        started_at real not null,
        started_by text not null,
        message text not null,
        ended_at real
    );
    create unique index one_open_rollout on rollouts (service) where ended_at is null;

    -- Services that are released together: their rollouts all go forward, or all back.
    create table sets (
        number integer primary key autoincrement,
        name text not null,
        strategy text not null,
        decided text not null default '',         -- forward | back, written once; '' while neither
        culprit text not null default '',         -- the service whose rollout turned back first
        cause text not null default '',
        exit integer not null default 0,
        started_at real not null,
        started_by text not null,
        message text not null
    );

    create table set_members (
        number integer not null references sets (number),
        service text not null,
        release integer not null,                 -- that the set brings, or that was live already
        rollout integer not null,                 -- 0: nothing was to be done for it
        primary key (number, service)
    );
    create index set_of_rollout on set_members (rollout);

    create table journal (
        rollout integer not null references rollouts (number),
        phase text not null,
        n integer not null,
        state text not null,                      -- begun | done | failed
        began_at real not null,
        until real not null default 0,            -- wake time of a watch: a resumed one does not start again
        ended_at real,
        detail text not null default '{}',
        primary key (rollout, phase, n)
    );

    create table locks (
        service text primary key,
        token integer not null,                   -- grows with each owner: the fence
        owner text not null,
        origin text not null,                     -- terminal, ssh connection or CI job
        host text not null,
        pid integer not null,
        pid_started integer not null,
        version text not null,                    -- of the deployer
        purpose text not null,
        since real not null,
        boot text not null,                       -- of the host: its monotonic clock is that of the beats
        beat real not null                        -- the last sign of life
    );

    create table control_requests (
        id integer primary key autoincrement,
        rollout integer not null references rollouts (number),
        kind text not null,                       -- promote | force | abort | pause
        by text not null,
        reason text not null,
        at real not null,
        taken_at real
    );

    -- A row for each rollout whose ending people elsewhere have still to be told.
    create table owed_notices (rollout integer primary key references rollouts (number));

    create table approvals (
        id integer primary key autoincrement,
        rollout integer not null references rollouts (number),
        n integer not null,                       -- step of the way forward
        until real not null,                      -- the end of the wait in which it was given: another wait asks again
        person text not null,                     -- in small letters: the same person counts once
        by text not null,
        role text not null,                       -- of their token; '' on the command line
        refused integer not null,
        reason text not null,
        at real not null,
        event integer not null,                   -- that tells it
        unique (rollout, n, until, person)
    );

    create table events (
        id integer primary key autoincrement,
        at real not null,
        service text not null,
        rollout integer not null,
        kind text not null,
        data text not null
    );
    create index events_of_rollout on events (rollout, id);

    create table ports (
        port integer primary key,
        service text not null,
        release integer not null,
        idx integer not null,
        host text not null default '',            -- the host on which the instance stands; '' is this one
        freed_at real,                            -- null while in use
        unique (service, release, idx)
    );

    -- Runs of jobs. At most one of a job has no end: never two at once.
    create table job_runs (
        number integer primary key autoincrement,
        service text not null,
        job text not null,
        release integer not null,
        due real not null,                        -- the time of its schedule; 0 for one that a person started
        host text not null default '',            -- on which it runs; '' is this one
        by text not null,
        reason text not null,
        started_at real not null,
        ended_at real,
        outcome text not null default '',         -- '' while it runs
        exit integer,                             -- of its command; null where that is not known
        text text not null default '',
        output text not null default '',          -- the last of it
        times integer not null default 1,         -- so many due times were left out, where it is `skipped` or `missed`
        owed integer not null default 0           -- people have still to be notified of it
    );
    create index runs_of_job on job_runs (service, job, number);
    create unique index one_run_of_a_job on job_runs (service, job) where ended_at is null;
    create index owed_runs on job_runs (number) where owed;

    -- Up to when the due times of a job are dealt with, by its schedule: another schedule begins anew.
    create table job_times (
        service text not null,
        job text not null,
        schedule text not null,
        until real not null,
        primary key (service, job)
    );

    -- The number of a record is never given out again (autoincrement), also not after its removal. The triggers stop
    -- mistakes; what somebody changes who can remove them, the chain of hashes shows.
    create table audit (
        n integer primary key autoincrement,
        at text not null,                         -- UTC, ISO 8601
        by text not null,                         -- a person, or `deployer`
        uid integer not null,
        host text not null,
        pid integer not null,
        origin text not null,                     -- terminal, ssh connection or CI job
        version text not null,                    -- of the deployer
        service text not null,
        rollout integer not null,
        release integer not null,
        action text not null,
        result text not null,
        detail text not null,
        reason text not null,
        before text not null,                     -- hash of the record before
        hash text not null
    );
    create index audit_of_service on audit (service, n);

    create trigger audit_no_update before update on audit
        begin select raise(abort, 'the audit log is only added to'); end;

    create trigger audit_no_delete before delete on audit
        begin select raise(abort, 'the audit log is only added to'); end;

    create trigger audit_appends before insert on audit
        when new.n is not (select coalesce(max(n), 0) + 1 from audit)
            or new.before is not (select coalesce((select hash from audit order by n desc limit 1), new.before))
        begin select raise(abort, 'the audit log is only added to'); end;
    """,
)
