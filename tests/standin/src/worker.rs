//! `./worker`: takes jobs from the queue one after the other and writes each into the database.

use std::time::Duration;

use redis::AsyncTypedCommands;
use tokio::time::sleep;
use tokio_postgres::{Client, types::Type};

use crate::{
    Fault,
    database::{Database, DatabaseError, in_time},
    explain,
    queue::{DONE, JOBS, Redis},
    server::Stop,
    settings::{Identity, number},
};

/// How long it waits for a job before it looks whether it was asked to end.
const WAIT_SECONDS: f64 = 1.0;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job TEXT NOT NULL,
    done_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

pub async fn run(identity: &Identity) -> Result<(), Fault> {
    let stop = Stop::on_signal()?;
    let (database, redis) = (Database::required()?, Redis::required("REDIS_URL")?);
    let effort = Duration::from_millis(number("JOB_MILLISECONDS", 0)?);
    println!("worker {}: takes jobs from {JOBS}", identity.version);
    while !stop.asked() {
        if let Err(error) = work(&database, &redis, effort, &stop).await {
            eprintln!("worker: {}", explain(&*error));
            tokio::select! { () = sleep(RETRY_PAUSE) => {}, () = stop.clone().wait() => {} }
        }
    }
    println!("worker: done");
    Ok(())
}

/// Job after job, until asked to end or until a connection fails.
async fn work(database: &Database, redis: &Redis, effort: Duration, stop: &Stop) -> Result<(), Fault> {
    let client = database.connect_with(TABLE).await?;
    let mut queue = redis.connect().await?;
    println!("worker: connected");
    while !stop.asked() {
        // Never cancelled by the signal: a job that was taken from the list at that moment would be lost.
        let Some([_, job]) = queue.blpop(JOBS, WAIT_SECONDS).await? else { continue };
        if let Err(error) = perform(&client, &job, effort).await {
            queue.lpush(JOBS, &job).await?;
            return Err(error.into());
        }
        queue.incr(DONE, 1).await?;
    }
    Ok(())
}

async fn perform(client: &Client, job: &str, effort: Duration) -> Result<(), DatabaseError> {
    sleep(effort).await;
    in_time(client.execute_typed("INSERT INTO jobs (job) VALUES ($1)", &[(&job, Type::TEXT)])).await?;
    Ok(())
}
