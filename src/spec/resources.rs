//! CPU, memory, storage and durations: defaults, bounds, and requests within limits.

use super::diagnostic::Code;
use super::model::Resources;
use super::place::Path;
use super::quantity::{Amount, Bytes, Millicores};
use super::report::{Report, below};
use super::wire;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What an app gets unless it says otherwise: request and limit.
pub(super) const APP: Defaults = Defaults { cpu: ("100m", "500m"), memory: ("128Mi", "256Mi") };
/// What a database gets unless it says otherwise.
pub(super) const DATABASE: Defaults = Defaults { cpu: ("100m", "500m"), memory: ("256Mi", "512Mi") };

/// Requests and limits where none are given.
pub(super) struct Defaults {
    cpu: (&'static str, &'static str),
    memory: (&'static str, &'static str),
}

/// The resources at `path`; `None` when that has been reported as wrong.
pub(super) fn resources(
    wire: &wire::Resources,
    path: &[String],
    defaults: &Defaults,
    report: &mut Report<'_>,
) -> Option<Resources> {
    let mut cpu = |side: &str, amounts: &wire::Amounts| match &amounts.cpu {
        Some(amount) => cpu(amount, &below(path, &[side, "cpu"]), report).map(Some).ok_or(Reported),
        None => Ok(None),
    };
    let cpus = (cpu("requests", &wire.requests), cpu("limits", &wire.limits));
    let mut memory = |side: &str, amounts: &wire::Amounts| match &amounts.memory {
        Some(amount) => bytes(&amount.0, &below(path, &[side, "memory"]), report).map(Some).ok_or(Reported),
        None => Ok(None),
    };
    let memories = (memory("requests", &wire.requests), memory("limits", &wire.limits));
    let cpu_defaults = (Millicores::parse(defaults.cpu.0)?, Millicores::parse(defaults.cpu.1)?);
    let memory_defaults = (Bytes::parse(defaults.memory.0)?, Bytes::parse(defaults.memory.1)?);
    let cpus = settle(cpus, cpu_defaults, &below(path, &["requests", "cpu"]), report);
    let memories = settle(memories, memory_defaults, &below(path, &["requests", "memory"]), report);
    let ((request_cpu, limit_cpu), (request_memory, limit_memory)) = (cpus?, memories?);
    Some(Resources { request_cpu, request_memory, limit_cpu, limit_memory })
}

/// It is wrong, and has been reported.
struct Reported;

/// Request and limit. One that is not given is the default, or follows the other where that would contradict it.
fn settle<T: Amount>(
    given: (Result<Option<T>, Reported>, Result<Option<T>, Reported>),
    defaults: (T, T),
    path: &Path,
    report: &mut Report<'_>,
) -> Option<(String, String)> {
    let larger = |a: T, b: T| if a.size() > b.size() { a } else { b };
    let smaller = |a: T, b: T| if a.size() < b.size() { a } else { b };
    let (request, limit) = match (given.0.ok()?, given.1.ok()?) {
        (Some(request), Some(limit)) => (request, limit),
        (Some(request), None) => (request, larger(request, defaults.1)),
        (None, Some(limit)) => (smaller(defaults.0, limit), limit),
        (None, None) => defaults,
    };
    let texts = (request.canonical(), limit.canonical());
    if request.size() <= limit.size() {
        return Some(texts);
    }
    let resource = path.last().map(String::as_str).unwrap_or_default();
    let message = format!("the request of {} {resource} is above the limit of {}", texts.0, texts.1);
    report.value(Code::RequestAboveLimit, path, &message, "lower the request or raise the limit");
    None
}

fn cpu(wire: &wire::Cpu, path: &[String], report: &mut Report<'_>) -> Option<Millicores> {
    let amount = match wire {
        wire::Cpu::Text(text) => Millicores::parse(text),
        wire::Cpu::Number(number) => Millicores::parse(&format!("{number:.3}")),
    };
    let Some(amount) = amount else {
        let help = "write at least `1m`; cores such as `0.5`, or millicores such as `500m`";
        report.value(Code::InvalidQuantity, path, "not an amount of CPU", help);
        return None;
    };
    if amount.size() > MANY_CORES * 1000 {
        let cores = amount.canonical();
        report.warn(
            Code::Implausible,
            path,
            &format!("{cores} cores for one pod"),
            &format!("write `{cores}m` for thousandths"),
        );
    }
    Some(amount)
}

/// More cores than pods are given: `cpu: 500` was meant as `500m`.
const MANY_CORES: u128 = 64;
/// More memory or storage than one pod is given.
const MUCH: u128 = 64 << 40;

/// The amount of memory or storage at `path`; `None` when that has been reported as wrong.
pub(super) fn bytes(text: &str, path: &[String], report: &mut Report<'_>) -> Option<Bytes> {
    match Bytes::parse(text) {
        Some(bytes) if bytes.is_tiny() => {
            let message = format!("`{text}` is only {} bytes", bytes.size());
            report.value(Code::MemoryUnit, path, &message, "add a unit, such as `512Mi`");
            None
        }
        Some(bytes) => {
            if bytes.size() > MUCH {
                report.warn(
                    Code::Implausible,
                    path,
                    &format!("{} for one pod", bytes.canonical()),
                    "see whether the unit is right",
                );
            }
            Some(bytes)
        }
        None => {
            let message = "more than can be counted, or not an amount of memory";
            report.value(Code::InvalidQuantity, path, message, "write a number with Ki, Mi, Gi or Ti, such as `512Mi`");
            None
        }
    }
}

/// The duration at `path`, `default` if there is none; `None` when that has been reported as wrong.
pub(super) fn duration(
    wire: Option<&wire::Duration>,
    default: u64,
    bounds: &RangeInclusive<u64>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let Some(wire) = wire else { return Some(Duration::from_secs(default)) };
    let Ok(duration) = humantime::parse_duration(&wire.0) else {
        report.value(Code::InvalidDuration, path, "not a duration", "write s, m, h or d, such as `30s` or `1h30m`");
        return None;
    };
    if bounds.contains(&duration.as_secs()) {
        return Some(duration);
    }
    let say = |seconds: u64| match seconds {
        s if s > 0 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s > 0 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    };
    let name = path.last().map(String::as_str).unwrap_or_default();
    let help = format!("write {} to {}", say(*bounds.start()), say(*bounds.end()));
    report.value(Code::OutOfRange, path, &format!("`{name}` is out of bounds"), &help);
    None
}
