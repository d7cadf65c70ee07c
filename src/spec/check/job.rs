//! Jobs: an app's program with a command of its own.

use super::super::diagnostic::Code;
use super::super::model::{App, Job, When};
use super::super::report::{below, root};
use super::super::resources::{self, duration, resources};
use super::super::wire;
use super::program::size;
use super::{Check, DAY, MINUTE};
use std::collections::BTreeMap;

impl Check<'_, '_> {
    pub(super) fn job(&mut self, name: &str, wire: &wire::Job, apps: &BTreeMap<String, App>) -> Option<Job> {
        let at = root(&["jobs", name]);
        if !self.affords(1, 0, &at) {
            return None;
        }
        let command = self.list(&below(&at, &["command"]), wire.command.len());
        let args = self.list(&below(&at, &["args"]), wire.args.len());
        let env = self.env(&at, &wire.env);
        let timeout = &below(&at, &["timeout"]);
        let timeout = duration(wire.timeout.as_ref(), 15 * MINUTE, &(1..=7 * DAY), timeout, self.report);
        let when = self.when(name, wire);
        let own = wire.resources.as_ref();
        let own = own.map(|own| resources(own, &below(&at, &["resources"]), &resources::APP, self.report));
        let app = wire.app.as_ref()?;
        let stack = self.stack;
        let Some(base) = stack.apps.0.get(&app.0) else {
            self.unknown_app(&below(&at, &["app"]), &app.0);
            return None;
        };
        if base.external.is_some() {
            let message = format!("the app `{}` runs elsewhere and has no image", app.0);
            self.report.value(Code::UnknownApp, &below(&at, &["app"]), &message, "name an app that has one");
            return None;
        }
        // what is wrong with the app is told there
        let base = apps.get(&app.0)?;
        if !self.report.affords_copy(size(&base.program), &at) {
            return None;
        }
        let mut program = base.program.clone();
        program.command = command?;
        program.args = args?;
        program.env.extend(env?);
        Some(Job {
            app: app.0.clone(),
            program,
            when: when?,
            timeout: timeout?,
            retries: wire.retries.unwrap_or(0),
            resources: own.unwrap_or_else(|| Some(base.resources.clone()))?,
        })
    }

    fn when(&mut self, name: &str, wire: &wire::Job) -> Option<When> {
        let at = root(&["jobs", name]);
        if !self.exactly_one(&at, &[("run", wire.run.is_some()), ("schedule", wire.schedule.is_some())]) {
            return None;
        }
        let Some(cron) = &wire.schedule else {
            let alien = [
                ("timezone", wire.timezone.is_some()),
                ("concurrency", wire.concurrency.is_some()),
                ("history", wire.history.is_some()),
            ];
            for (key, _) in alien.iter().filter(|(_, there)| *there) {
                let message = format!("`{key}` means nothing without `schedule`");
                self.report.key(Code::Contradiction, &below(&at, &[key]), &message, "remove it");
            }
            return Some(if wire.run == Some(wire::Run::Manual) { When::Manual } else { When::PostDeploy });
        };
        if let Some((message, help)) = cron_complaint(&cron.0) {
            self.report.value(Code::InvalidCron, &below(&at, &["schedule"]), &message, help);
            return None;
        }
        let zone = wire.timezone.as_ref().map_or("UTC", |zone| zone.0.as_str());
        // Kubernetes tells capitals from small letters
        let known = jiff::tz::TimeZone::get(zone).ok();
        let canonical = known.as_ref().and_then(|zone| zone.iana_name()).unwrap_or_default();
        if canonical != zone {
            let message = format!("there is no time zone `{zone}`");
            let near = format!("did you mean `{canonical}`?");
            let help = if canonical.is_empty() { "write one such as `Asia/Tokyo`" } else { &near };
            self.report.value(Code::UnknownValue, &below(&at, &["timezone"]), &message, help);
            return None;
        }
        Some(When::Scheduled {
            cron: cron.0.clone(),
            timezone: zone.to_owned(),
            concurrency: match wire.concurrency {
                None | Some(wire::Concurrency::Forbid) => "Forbid",
                Some(wire::Concurrency::Allow) => "Allow",
                Some(wire::Concurrency::Replace) => "Replace",
            },
            history: wire.history.unwrap_or(3),
        })
    }
}

/// What is wrong with a schedule. The grammar of its characters has been checked.
fn cron_complaint(cron: &str) -> Option<(String, &'static str)> {
    const FIELDS: [(&str, u32, u32); 5] =
        [("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 6)];
    const NAMES: [&str; 19] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon", "tue", "wed",
        "thu", "fri", "sat",
    ];
    if cron.starts_with('@') {
        return None;
    }
    let mut fields = vec![];
    for (text, (name, least, most)) in cron.split(' ').zip(FIELDS) {
        let number = |text: &str| match NAMES.iter().position(|known| *known == text.to_lowercase()) {
            Some(month @ 0..12) if name == "month" => u32::try_from(month + 1).ok(),
            Some(day @ 12..) if name == "day of the week" => u32::try_from(day - 12).ok(),
            Some(_) => None,
            None => text.parse::<u32>().ok().filter(|number| (least..=most).contains(number)),
        };
        // a step from a number on goes up to the most
        let range = |range: &str, steps: bool| match range.split_once('-') {
            _ if matches!(range, "*" | "?") => Some(least..=most),
            Some((from, to)) => Some(number(from)?..=number(to)?).filter(|range| !range.is_empty()),
            None => number(range).map(|only| only..=if steps { most } else { only }),
        };
        let item = |item: &str| {
            let (of, step) = item.split_once('/').map_or((item, None), |(of, step)| (of, Some(step)));
            let step = step.map_or(Some(1), |step| step.parse::<usize>().ok().filter(|step| *step > 0))?;
            Some(range(of, item.contains('/'))?.step_by(step).collect::<Vec<u32>>())
        };
        let Some(items) = text.split(',').map(item).collect::<Option<Vec<_>>>() else {
            let sunday = name == "day of the week" && text.split(['-', ',', '/']).any(|part| part == "7");
            let help = if sunday {
                "write 0 or `sun` for Sunday"
            } else {
                "write minute, hour, day, month and weekday, such as `0 3 * * *`"
            };
            return Some((format!("`{text}` can't stand for the {name}"), help));
        };
        fields.push((text, items.concat()));
    }
    never(&fields)
        .then(|| ("no such day ever comes: none of these months has it".to_owned(), "choose a day that there is"))
}

/// Whether no month has one of the days. Where weekdays are given, too, one of both is enough (crontab(5)).
fn never(fields: &[(&str, Vec<u32>)]) -> bool {
    let [_, _, (_, days), (_, months), (weekdays, _)] = fields else { return false };
    let longest = |month: &u32| match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let free = weekdays.starts_with(['*', '?']);
    free && !months.iter().any(|month| days.iter().any(|day| *day <= longest(month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in [
            "0 0 29 2 *",
            "0 0 31 */2 *",
            "0 0 30 2 1",
            "0 0 5/10 2 *",
            "0 3 * * *",
            "*/15 0-6 1,15 jan-mar MON",
            "@daily",
            "59 23 31 12 0",
        ] {
            assert_eq!(cron_complaint(good), None, "{good}");
        }
        for bad in [
            "60 * * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 7",
            "*/0 * * * *",
            "5-1 * * * *",
            "0 0 * mon *",
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 31 feb-feb *",
            "0 0 30/1 2 ?",
        ] {
            assert!(cron_complaint(bad).is_some(), "{bad}");
        }
    }
}
