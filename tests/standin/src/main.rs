//! Stands in for every application of the example systems. One program in one layer: its name says which command it
//! is, `STANDIN_ROLE` which application. Each does what a cluster notices of the real one: it answers its ports and
//! probes, uses its database and Redis, and ends when asked to.

mod aio;
mod certificates;
mod database;
mod dns;
mod health;
mod hugmedo;
mod koiki;
mod pipe;
mod queue;
mod scripts;
mod server;
mod settings;
mod worker;

use std::{env, error::Error, path::Path, process::ExitCode};

use axum::Router;
use server::listen;
use settings::Identity;

/// What ends the program, with everything that led to it.
type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match start(program, &words.collect::<Vec<_>>()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn start(program: &str, arguments: &[String]) -> Result<(), Fault> {
    let identity = Identity::from_env()?;
    match program {
        "worker" => worker::run(&identity).await,
        "npm" | "pnpm" => scripts::run(arguments).await,
        "uvicorn" => {
            let listener = listen(koiki::address(arguments)?).await?;
            server::serve(&identity, listener, koiki::framework(&identity)?).await
        }
        // The image's own entrypoint. Whoever gives a command instead, and only they, gets by without it.
        "docker-entrypoint.sh" => Err("docker-entrypoint.sh runs migrations".into()),
        _ => {
            check_arguments(&identity, arguments)?;
            let (port, router) = application(&identity).await?;
            let port = settings::number("PORT", port)?;
            server::serve(&identity, server::listen_everywhere(port).await?, router).await
        }
    }
}

/// The port and the routes of a role.
async fn application(identity: &Identity) -> Result<(u16, Router), Fault> {
    Ok(match identity.app.as_str() {
        "aio-api" => (8080, aio::api(identity)?),
        "aio-frontend" => (3000, aio::frontend(identity)),
        "aio-keycloak" => (8080, aio::keycloak(identity)?),
        "aio-jaeger" => (16686, aio::jaeger(identity).await?),
        "hugmedo-mobile" => (3100, hugmedo::application(identity)?),
        "hugmedo-web" | "hugmedo-api" | "hugmedo-chat" | "hugmedo-ohr" => (3000, hugmedo::application(identity)?),
        "pipe-api" => (3000, pipe::api(identity)?),
        "koiki-frontend" => (3000, koiki::frontend(identity)),
        other => return Err(format!("STANDIN_ROLE names nothing that can be started alone: {other}").into()),
    })
}

/// Only Keycloak is told what to do; whatever another role is given was meant for another program.
fn check_arguments(identity: &Identity, arguments: &[String]) -> Result<(), Fault> {
    let known: &[&str] = if identity.app == "aio-keycloak" { &["start"] } else { &[] };
    match arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        Some(argument) => Err(format!("{} has no argument {argument}", identity.app).into()),
        None => Ok(()),
    }
}

/// The error with everything that led to it, in one line: a driver's own text stops at "error connecting".
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some already end with their cause.
        let why = error.to_string();
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}
