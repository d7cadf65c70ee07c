//! `npm run` and `pnpm run`: the scripts that jobs of a deployment call.

use std::time::Duration;

use axum::http::{Request, StatusCode, Uri, header::HOST};
use http_body_util::Empty;
use hyper::{body::Bytes, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{Fault, database::Database, dns, explain, settings::setting};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS seeds (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sown_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

pub async fn run(arguments: &[String]) -> Result<(), Fault> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", "smoke"] => smoke().await,
        ["run", "seed"] => seed().await,
        ["run", other] => Err(format!("Missing script: {other}").into()),
        _ => Err("usage: run SCRIPT".into()),
    }
}

/// Whether the applications that the settings name answer with success.
async fn smoke() -> Result<(), Fault> {
    let named: Vec<_> = ["API_URL", "WEB_URL"].into_iter().filter_map(|name| Some((name, setting(name)?))).collect();
    if named.is_empty() {
        return Err("neither API_URL nor WEB_URL is set".into());
    }
    for (name, url) in named {
        let answer = timeout(ANSWER_TIMEOUT, get(&url)).await.map_err(|_| format!("{name}: no answer in time"))?;
        let status = answer.map_err(|error| format!("{name}: {}", explain(&*error)))?;
        println!("{name}: {status}");
        if !status.is_success() {
            return Err(format!("{name} answered {status}").into());
        }
    }
    Ok(())
}

async fn get(url: &str) -> Result<StatusCode, Fault> {
    let uri: Uri = url.parse()?;
    let (Some("http"), Some(host), Some(authority)) = (uri.scheme_str(), uri.host(), uri.authority()) else {
        return Err("the URL is not of the form http://HOST:PORT/".into());
    };
    let addresses = dns::resolve(host.trim_matches(['[', ']'])).await?;
    let address = addresses.first().ok_or("the host name has no address")?;
    let stream = TcpStream::connect((*address, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    // Without a login that the URL may hold.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let request = Request::get(target).header(HOST, host).body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status())
}

/// One more row at each run, so that rows tell how often it ran.
async fn seed() -> Result<(), Fault> {
    let client = Database::required()?.connect_with(TABLE).await?;
    client.batch_execute("INSERT INTO seeds DEFAULT VALUES").await?;
    println!("seed: one row");
    Ok(())
}
