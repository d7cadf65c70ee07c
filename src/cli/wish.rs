//! What a person asks the daemon for: rollback, retry, suspend, resume, destroy. The wish lies on the Stack's record until the
//! daemon has answered it.

use super::args::{ClusterArgs, Sure};
use super::cluster::{self, recorded};
use super::output::{BUSY, GOOD, Out};
use super::{Ended, UNREACHABLE};
use crate::ident::StackName;
use crate::record::Want;
use crate::shell::cluster::failure::Failure;
use crate::shell::cluster::lease;
use crate::shell::cluster::project::Project;
use crate::shell::cluster::wish;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use std::process::ExitCode;

/// Asks for an older release.
pub(super) async fn rollback(name: &str, to: Option<String>, sure: Sure, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let stack = cluster::stack(name, &client, cluster.namespace()).await?;
    let project = cluster::unwatched(client, cluster.namespace());
    let record = recorded(&project, &stack).await?;
    let Some(to) = to.or_else(|| record.before().map(ToString::to_string)) else {
        return Err(Failure::last(
            "failed to roll back: no older deployment is known to have worked; name one with --to",
        ));
    };
    let question = format!("put {stack} back to {to}? The data of its databases stays as it is.");
    if !sure.yes && !out.asks(&question)? {
        out.say("nothing was done");
        return Ok(ExitCode::FAILURE);
    }
    leave(&project, &stack, Want::RollBack { to }, out).await
}

/// Asks that everything of a Stack goes.
pub(super) async fn destroy(name: &str, with_data: bool, sure: Sure, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let stack = cluster::stack(name, &client, cluster.namespace()).await?;
    let data = if with_data {
        "Its databases and volumes are deleted, too, and nothing brings them back"
    } else {
        "Its databases and volumes stay"
    };
    let question = format!("delete all apps, jobs and addresses of {stack} in {}? {data}.", cluster.namespace());
    if !sure.yes && !out.asks(&question)? {
        out.say("nothing was done");
        return Ok(ExitCode::FAILURE);
    }
    let project = cluster::unwatched(client, cluster.namespace());
    leave(&project, &stack, Want::Destroy { with_data }, out).await
}

/// Asks for something that needs no second thought.
pub(super) async fn ask(name: &str, want: Want, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let stack = cluster::stack(name, &client, cluster.namespace()).await?;
    let project = cluster::unwatched(client, cluster.namespace());
    leave(&project, &stack, want, out).await
}

/// Leaves a wish and waits for its answer.
async fn leave(project: &Project, stack: &StackName, what: Want, out: Out) -> Ended {
    let (client, namespace) = (&project.client, project.namespace.as_str());
    let wish = wish::now(what, whoami(client).await)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    wish::leave(&maps, stack, &wish).await?;
    let holder = lease::holder_of(client, namespace, stack).await?;
    if holder.is_some() {
        out.say(&format!("{BUSY}…{BUSY:#} asked the daemon to {}", wish.what));
    }
    // without a daemon there is nobody whose answer could be waited for
    let answer = match &holder {
        Some(_) => wish::answered(&maps, stack, &wish).await?,
        None => None,
    };
    let refused = answer.as_ref().and_then(|answer| answer.refused.clone());
    let known = answer.is_some();
    let code = match (&refused, known) {
        (Some(_), _) => ExitCode::FAILURE,
        (None, true) => ExitCode::SUCCESS,
        // what nobody has taken is not done
        (None, false) => ExitCode::from(UNREACHABLE),
    };
    if out.json {
        out.data(
            &json!({ "id": wish.id, "wish": wish.what, "daemon": holder, "answered": known, "refused": refused }),
        )?;
        return Ok(code);
    }
    if let Some(why) = refused {
        return Err(Failure::last(format!("failed to {}: {why}", wish.what)));
    }
    let watch = format!("hks status {stack} -n {namespace} --watch");
    match (&holder, known) {
        (None, _) => out.say(&format!(
            "no daemon acts for {stack} at the moment: nobody holds its Lease. The wish to {} stays until one does",
            wish.what
        )),
        (Some(_), true) => out.print(&format!("{GOOD}✓{GOOD:#} the daemon has taken it; see what comes of it with: {watch}")),
        (Some(holder), false) => out.say(&format!(
            "no answer yet from {holder}, which holds the Lease; it may be busy, or gone without giving it back. See with: {watch}"
        )),
    }
    Ok(code)
}

/// Who the cluster says that this is.
async fn whoami(client: &Client) -> String {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = asked.ok().and_then(|review| review.status?.user_info?.username);
    user.unwrap_or_else(|| "somebody on the command line".into())
}
