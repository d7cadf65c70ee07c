//! Notes in `PostgreSQL`, over one connection that is made again whenever it was lost.

use std::{
    error::Error,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_resolver::net::NetError;
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_postgres::{Client, Config, NoTls, Row, config::Host};

use crate::dns;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);
const WATCH_PERIOD: Duration = Duration::from_secs(1);
const SHOWN: i64 = 50;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS notes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";
/// Replicas that start together must not create the table twice: `IF NOT EXISTS` alone races.
const CREATE_LOCK: &str = "SELECT pg_advisory_xact_lock(7239187)";
const COLUMNS: &str =
    "id, text, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created_at";

#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    #[error("its host name does not resolve")]
    Name(#[from] NetError),
    #[error("DATABASE_URL names no host")]
    NoHost,
    #[error("the connection failed")]
    Database(#[from] tokio_postgres::Error),
    #[error("no answer in time")]
    Timeout,
}

impl NotesError {
    /// The error with everything that led to it, in one line: the driver's own text stops at "error connecting".
    pub fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

#[derive(Debug, Serialize)]
pub struct Note {
    pub id: i64,
    pub text: String,
    pub created_at: String,
}

impl TryFrom<Row> for Note {
    type Error = tokio_postgres::Error;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        Ok(Self { id: row.try_get("id")?, text: row.try_get("text")?, created_at: row.try_get("created_at")? })
    }
}

pub struct Notes {
    config: Config,
    client: Mutex<Option<Arc<Client>>>,
    available: AtomicBool,
}

impl Notes {
    pub fn new(config: Config) -> Self {
        Self { config, client: Mutex::new(None), available: AtomicBool::new(false) }
    }

    /// The newest notes, newest first.
    pub async fn latest(&self) -> Result<Vec<Note>, NotesError> {
        let client = self.client().await?;
        let sql = format!("SELECT {COLUMNS} FROM notes ORDER BY id DESC LIMIT $1");
        let rows = in_time(QUERY_TIMEOUT, client.query(&sql, &[&SHOWN])).await?;
        Ok(rows.into_iter().map(Note::try_from).collect::<Result<_, _>>()?)
    }

    /// Stores `text` and returns it as stored.
    pub async fn add(&self, text: &str) -> Result<Note, NotesError> {
        let client = self.client().await?;
        let sql = format!("INSERT INTO notes (text) VALUES ($1) RETURNING {COLUMNS}");
        let row = in_time(QUERY_TIMEOUT, client.query_one(&sql, &[&text])).await?;
        Ok(row.try_into()?)
    }

    /// Whether the database answered a moment ago. Never waits, so that a probe gets its answer in time.
    pub fn available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Asks the database again and again, makes lost connections anew, and logs when it comes and goes.
    pub async fn watch(&self) {
        let mut reported = None;
        loop {
            let outcome = timeout(WATCH_TIMEOUT, self.ping()).await.unwrap_or(Err(NotesError::Timeout));
            if matches!(outcome, Err(NotesError::Timeout)) {
                // A connection whose other end vanished without a word is never closed by itself.
                *self.client.lock().await = None;
            }
            self.available.store(outcome.is_ok(), Ordering::Relaxed);
            let report = outcome.map_err(|error| error.explain());
            if reported.as_ref() != Some(&report) {
                match &report {
                    Ok(()) => println!("hexabase-web: the database answers"),
                    Err(why) => eprintln!("hexabase-web: the database is away: {why}"),
                }
                reported = Some(report);
            }
            sleep(WATCH_PERIOD).await;
        }
    }

    async fn ping(&self) -> Result<(), NotesError> {
        let client = self.client().await?;
        client.simple_query("SELECT 1").await?;
        Ok(())
    }

    async fn client(&self) -> Result<Arc<Client>, NotesError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(connect(&self.config).await?);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }
}

async fn connect(config: &Config) -> Result<Client, NotesError> {
    let mut config = config.clone();
    for address in addresses(&config).await? {
        config.hostaddr(address);
    }
    let (mut client, connection) = in_time(CONNECT_TIMEOUT, config.connect(NoTls)).await?;
    // Its end shows in `Client::is_closed`, and the next query says why.
    tokio::spawn(connection);
    in_time(QUERY_TIMEOUT, create_table(&mut client)).await?;
    Ok(client)
}

/// One address for each host of the URL, as the driver wants them paired.
async fn addresses(config: &Config) -> Result<Vec<IpAddr>, NotesError> {
    let mut addresses = Vec::new();
    for host in config.get_hosts() {
        if let Host::Tcp(name) = host {
            let found = timeout(CONNECT_TIMEOUT, dns::resolve(name)).await.map_err(|_| NotesError::Timeout)??;
            addresses.extend(found.first());
        }
    }
    if addresses.is_empty() { Err(NotesError::NoHost) } else { Ok(addresses) }
}

async fn create_table(client: &mut Client) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.execute(CREATE_LOCK, &[]).await?;
    transaction.batch_execute(CREATE_TABLE).await?;
    transaction.commit().await
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, NotesError> {
    Ok(timeout(limit, answer).await.map_err(|_| NotesError::Timeout)??)
}
