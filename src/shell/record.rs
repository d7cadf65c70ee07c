//! The record of a Stack in a ConfigMap of its project, `hks-<stack>`.

use crate::ident::{Kind, StackName};
use crate::machine::Fault;
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::record::Record;
use crate::shell::apply::{MANAGER, describe_own};
use crate::shell::project::Project;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The key of the ConfigMap.
const KEY: &str = "record.json";
/// Written on the record by `hks rollback`, to ask the daemon for an older release: `<sha> <who>`.
pub const ROLLBACK_ANNOTATION: &str = "hks.hexabase.ai/rollback";

/// Name of the objects in which hks keeps its own state of a Stack.
pub fn name(stack: &StackName) -> String {
    format!("hks-{stack}")
}

/// Reads the record; a Stack that was never deployed has an empty one.
pub async fn load(project: &Project, stack: &StackName) -> Result<Record, Fault> {
    let name = name(stack);
    let found = project.api(Kind::ConfigMap).get_opt(&name).await;
    let found = found.map_err(|error| describe_own(&error, format!("ConfigMap/{name}")))?;
    let text = found.as_ref().and_then(|map| map.data["data"][KEY].as_str());
    let Some(text) = text else { return Ok(Record::default()) };
    // to go on with an empty record could delete nothing, but it would forget what a rollback needs
    serde_json::from_str(text).map_err(|error| Fault {
        transient: false,
        object: format!("ConfigMap/{name}"),
        component: (String::new(), false),
        message: format!("its record can't be read ({error}); restore it, or delete it to begin anew"),
    })
}

/// Writes the record. A fulfilled wish for a rollback is taken away with it.
pub async fn save(project: &Project, stack: &StackName, record: &Record) -> Result<(), Fault> {
    let name = name(stack);
    let failed = |message: String, transient| Fault {
        transient,
        object: format!("ConfigMap/{name}"),
        component: (String::new(), false),
        message,
    };
    let text = serde_json::to_string(record).map_err(|error| failed(error.to_string(), false))?;
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": project.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
        },
        "data": { KEY: text },
    });
    let params = PatchParams::apply(MANAGER).force();
    let written = project.api(Kind::ConfigMap).patch(&name, &params, &Patch::Apply(&body)).await;
    let written = written.map_err(|error| describe_own(&error, format!("ConfigMap/{name}")))?;
    project.learn(Kind::ConfigMap, written);
    Ok(())
}
