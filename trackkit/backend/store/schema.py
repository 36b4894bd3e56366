"""The tables of a store, as an ordered list of migrations in SQL that SQLite and PostgreSQL both speak.

Times are integers: microseconds since the Unix epoch, UTC. Runs have two names: `id`, the text
that people use, and `run`, a time-ordered 64-bit integer made by the application that leads the
key of every large table. A series is the values of one key written by one writer of one run; its
number is a hash of (kind, key, writer), so no two processes need to agree on it.
`docs/store.md` describes every table for outsiders.
"""

from __future__ import annotations

MIGRATIONS: list[tuple[str, list[str]]] = [
    (
        "0001 runs, series and what a run keeps",
        [
            """create table runs (
                run {integer} primary key, id {text} not null unique, project {text} not null, name {text} not null,
                run_group {text} not null, job_type {text} not null, notes {text} not null, state {text} not null,
                created {integer} not null, updated {integer} not null, ended {integer}, exit_code {integer},
                error {text} not null, metadata {text} not null
            ){strict}""",
            "create index runs_project on runs (project, created)",
            "create index runs_state on runs (state)",
            """create table writers (
                run {integer} not null, writer {text} not null, role {text} not null, label {text} not null,
                host {text} not null, pid {integer} not null, state {text} not null, started {integer} not null,
                ended {integer}, exit_code {integer}, position {integer} not null, accounting {text} not null,
                primary key (run, writer)
            ){clustered}""",
            "create table tags (run {integer} not null, tag {text} not null, primary key (run, tag)){clustered}",
            "create index tags_tag on tags (tag)",
            """create table config (
                run {integer} not null, key {text} not null, type {text} not null, number {real}, text {text},
                primary key (run, key)
            ){clustered}""",
            """create table summary (
                run {integer} not null, key {text} not null, type {text} not null, number {real}, text {text},
                edited {integer} not null, primary key (run, key)
            ){clustered}""",
            """create table metrics (
                run {integer} not null, name {text} not null, step_metric {text}, summary {text}, goal {text},
                hidden {integer} not null, position {integer} not null, primary key (run, name)
            ){clustered}""",
            """create table series (
                run {integer} not null, series {integer} not null, kind {text} not null, key {text} not null,
                writer {text} not null, count {integer} not null, sealed {integer} not null,
                finite {integer} not null, total {real}, min {real}, max {real}, first {real}, last {real},
                first_step {integer} not null, last_step {integer} not null, min_step {integer} not null,
                max_step {integer} not null, first_time {integer} not null, last_time {integer} not null,
                primary key (run, series)
            ){clustered}""",
            "create index series_key on series (run, kind, key)",
            """create table points (
                run {integer} not null, series {integer} not null, seq {integer} not null, step {integer} not null,
                time {integer} not null, value {real}, primary key (run, series, seq)
            ){clustered}""",
            """create table chunks (
                run {integer} not null, series {integer} not null, seq {integer} not null, count {integer} not null,
                finite {integer} not null, total {real}, min {real}, max {real}, last {real},
                first_step {integer} not null, last_step {integer} not null, min_step {integer} not null,
                max_step {integer} not null, first_time {integer} not null, last_time {integer} not null,
                steps {blob} not null, times {blob} not null, vals {blob} not null,
                primary key (run, series, seq)
            ){strict}""",
            """create table texts (
                run {integer} not null, writer {text} not null, key {text} not null, seq {integer} not null,
                step {integer} not null, time {integer} not null, value {text} not null,
                primary key (run, key, writer, seq)
            ){clustered}""",
            """create table lines (
                run {integer} not null, writer {text} not null, seq {integer} not null, time {integer} not null,
                stream {text} not null, text {text} not null, primary key (run, writer, seq)
            ){clustered}""",
            """create table objects (
                run {integer} not null, writer {text} not null, seq {integer} not null, key {text} not null,
                kind {text} not null, path {text} not null, size {integer} not null, digest {text} not null,
                inline {blob}, step {integer}, time {integer} not null, metadata {text} not null,
                primary key (run, writer, seq)
            ){strict}""",
            "create index objects_digest on objects (digest)",
            """create table alerts (
                run {integer} not null, writer {text} not null, seq {integer} not null, time {integer} not null,
                level {text} not null, title {text} not null, text {text} not null,
                primary key (run, writer, seq)
            ){clustered}""",
        ],
    ),
    (
        "0002 what a server needs",
        [
            "alter table runs add column touched {integer} not null default 0",
            "alter table runs add column deleted {integer}",
            "alter table runs add column stop {integer}",
            "create index runs_touched on runs (touched)",
            "alter table writers add column seen {integer}",
            """create table blocks (
                run {integer} not null, series {integer} not null, seq {integer} not null, stats {blob} not null,
                primary key (run, series, seq)
            ){strict}""",
            """create table tokens (
                id {text} primary key, digest {text} not null unique, name {text} not null, scope {text} not null,
                projects {text}, created {integer} not null, used {integer}, expires {integer}
            ){clustered}""",
            """create table sessions (
                digest {text} primary key, token {text} not null, csrf {text} not null, created {integer} not null,
                expires {integer} not null
            ){clustered}""",
            """create table views (
                id {text} primary key, project {text} not null, name {text} not null, content {text} not null,
                created {integer} not null, updated {integer} not null
            ){clustered}""",
            "create index views_project on views (project)",
        ],
    ),
    (
        "0003 media",
        ["create index objects_key on objects (run, kind, key, step)"],
    ),
    (
        "0004 artifacts",
        [
            """create table collections (
                collection {integer} primary key, project {text} not null, name {text} not null, type {text} not null,
                description {text} not null, created {integer} not null, updated {integer} not null,
                unique (project, name)
            ){strict}""",
            """create table versions (
                version {integer} primary key, collection {integer} not null, number {integer} not null,
                digest {text} not null, run {integer}, source {integer}, size {integer} not null,
                count {integer} not null, description {text} not null, metadata {text} not null,
                created {integer} not null, expires {integer}, deleted {integer}, unique (collection, number)
            ){strict}""",
            "create index versions_digest on versions (digest)",
            "create index versions_run on versions (run)",
            "create index versions_source on versions (source)",
            """create table aliases (
                collection {integer} not null, alias {text} not null, version {integer} not null,
                protected {integer} not null, primary key (collection, alias)
            ){clustered}""",
            "create index aliases_version on aliases (version)",
            """create table alias_moves (
                collection {integer} not null, move {integer} not null, alias {text} not null, before {integer},
                after {integer}, actor {text} not null, time {integer} not null, primary key (collection, move)
            ){clustered}""",
            """create table version_tags (
                version {integer} not null, tag {text} not null, primary key (version, tag)
            ){clustered}""",
            """create table submissions (
                run {integer} not null, writer {text} not null, seq {integer} not null, token {text} not null,
                project {text} not null, name {text} not null, digest {text} not null, content {text} not null,
                draft {text} not null, part {integer} not null, parts {integer} not null, state {text} not null,
                reason {text} not null, version {integer}, time {integer} not null, primary key (run, writer, seq)
            ){clustered}""",
            "create index submissions_token on submissions (token)",
            "create index submissions_version on submissions (version)",
            "create index submissions_state on submissions (state)",
            """create table uses (
                run {integer} not null, writer {text} not null, seq {integer} not null, version {integer},
                project {text} not null, name {text} not null, number {integer} not null, digest {text} not null,
                reference {text} not null, time {integer} not null, primary key (run, writer, seq)
            ){clustered}""",
            "create index uses_version on uses (version)",
            """create table budgets (
                project {text} primary key, bytes {integer} not null, rule {text} not null
            ){clustered}""",
            "create table upkeep (name {text} primary key, count {integer} not null){clustered}",
            "insert into upkeep (name, count) values ('blobs', 0)",
        ],
    ),
    (
        "0005 rewinds",
        [
            """create table rewinds (
                run {integer} not null, writer {text} not null, seq {integer} not null, time {integer} not null,
                step {integer} not null, primary key (run, writer, seq)
            ){clustered}""",
        ],
    ),
    (
        "0006 what MLflow's clients keep",
        [
            "alter table runs add column user_id {text} not null default ''",
            """create table experiments (
                experiment {integer} primary key, project {text} not null unique, location {text} not null,
                created {integer} not null, updated {integer} not null, deleted {integer}
            ){strict}""",
            "insert into experiments (experiment, project, location, created, updated) values (0, 'Default', '', 0, 0)",
            """create table experiment_tags (
                experiment {integer} not null, key {text} not null, value {text} not null,
                primary key (experiment, key)
            ){clustered}""",
            """create table run_tags (
                run {integer} not null, key {text} not null, value {text} not null, primary key (run, key)
            ){clustered}""",
            """create table latest_points (
                run {integer} not null, key {text} not null, step {integer} not null, time {integer} not null,
                value {real}, newest {integer} not null, primary key (run, key)
            ){clustered}""",
            """create table datasets (
                dataset {integer} primary key, project {text} not null, name {text} not null, digest {text} not null,
                source_type {text} not null, source {text} not null, schema {text}, profile {text},
                unique (project, name, digest)
            ){strict}""",
            """create table run_datasets (
                run {integer} not null, dataset {integer} not null, tags {text} not null, context {text},
                primary key (run, dataset)
            ){clustered}""",
            """create table run_models (
                run {integer} not null, role {text} not null, model {text} not null, step {integer} not null,
                primary key (run, role, model)
            ){clustered}""",
            """create table logged_models (
                model {text} primary key, project {text} not null, name {text} not null, type {text} not null,
                status {text} not null, message {text} not null, run {text} not null, created {integer} not null,
                updated {integer} not null, deleted {integer}, version {integer}
            ){clustered}""",
            "create index logged_models_project on logged_models (project, created)",
            """create table logged_model_params (
                model {text} not null, key {text} not null, value {text} not null, primary key (model, key)
            ){clustered}""",
            """create table logged_model_tags (
                model {text} not null, key {text} not null, value {text} not null, primary key (model, key)
            ){clustered}""",
            """create table logged_model_metrics (
                model {text} not null, key {text} not null, run {integer} not null, step {integer} not null,
                time {integer} not null, value {real}, dataset {text} not null, digest {text} not null,
                primary key (model, key, run, step, time, dataset, digest)
            ){clustered}""",
            """create table proxied_files (
                path {text} primary key, size {integer} not null, digest {text} not null, time {integer} not null
            ){clustered}""",
            "create index proxied_files_digest on proxied_files (digest)",
            """create table registered_models (
                collection {integer} primary key, created {integer} not null, updated {integer} not null
            ){clustered}""",
            """create table registered_model_tags (
                collection {integer} not null, key {text} not null, value {text} not null,
                primary key (collection, key)
            ){clustered}""",
            """create table model_versions (
                version {integer} primary key, source {text} not null, run {text} not null, run_link {text} not null,
                model {text} not null, stage {text} not null, updated {integer} not null
            ){clustered}""",
            """create table model_version_tags (
                version {integer} not null, key {text} not null, value {text} not null, primary key (version, key)
            ){clustered}""",
        ],
    ),
]

SQLITE_VIEWS = [
    "drop view if exists history",
    """create view history as
        select runs.id as run, runs.project as project, series.key as key, points.step as step,
               points.time / 1e6 as time, points.value as value
        from runs cross join series using (run) cross join points using (run, series)
        where series.kind = 'metric' and not exists (
            select 1 from rewinds
            where rewinds.run = runs.run and points.step >= rewinds.step and points.time < rewinds.time)
        union all
        select runs.id, runs.project, series.key, json_extract(point.value, '$[0]'),
               json_extract(point.value, '$[1]') / 1e6, json_extract(point.value, '$[2]')
        from runs cross join series using (run) cross join chunks using (run, series)
             cross join json_each(trackkit_chunk(chunks.steps, chunks.times, chunks.vals)) as point
        where series.kind = 'metric' and not exists (
            select 1 from rewinds
            where rewinds.run = runs.run and json_extract(point.value, '$[0]') >= rewinds.step
                  and json_extract(point.value, '$[1]') < rewinds.time)""",
]
"""Views over both levels of a series, made anew by every migration; points that a rewind superseded are left out.
`trackkit_chunk` is registered by `trackkit.backend.store.plugin`.

`cross join` holds SQLite to the order from runs to series to points, the only good one: it would
rather read every point of a run and look up the series of each.
"""
