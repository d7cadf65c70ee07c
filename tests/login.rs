//! Logging in with a browser, at the kit's forge, which is a provider of `OpenID` Connect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use support::{Forge, World, kit, worker};

/// Where people reach the daemon, as the provider knows it. Nobody listens there: this browser asks the daemon itself.
const PUBLIC: &str = "http://localhost";

/// A browser: it keeps cookies, and follows nothing by itself.
struct Browser {
    jar: PathBuf,
}

/// What it is answered.
struct Answer {
    code: u16,
    location: String,
    text: String,
}

impl Browser {
    fn ask(&self, url: &str, args: &[&str]) -> Answer {
        let jar = self.jar.to_str().unwrap();
        let output = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-b", jar, "-c", jar, "-H", "Accept: text/html"])
            .args(["-w", "\n%{http_code} %{redirect_url}", url])
            .args(args)
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, end) = all.rsplit_once('\n').unwrap();
        let (code, location) = end.split_once(' ').unwrap();
        Answer { code: code.parse().unwrap(), location: location.into(), text: text.into() }
    }
}

/// hks as an application of the forge's, and an organization of its own there; both go with the test.
struct Application {
    forge: &'static Forge,
    token: String,
    organization: String,
    known: Value,
}

impl Application {
    fn new(forge: &'static Forge) -> Self {
        let token = std::fs::read_to_string(&forge.token).unwrap().trim().to_owned();
        let organization = format!("e2e-login-{}", std::process::id());
        let mut new = Self { forge, token, organization, known: Value::Null };
        // of runs that were killed
        let is_left = |name: &str| {
            let of = name.strip_prefix("e2e-login-").unwrap_or_default();
            !of.is_empty() && !std::path::Path::new(&format!("/proc/{of}")).exists()
        };
        for one in new.api("GET", "user/applications/oauth2?limit=50", None).as_array().into_iter().flatten() {
            if one["name"].as_str().is_some_and(is_left) {
                new.api("DELETE", &format!("user/applications/oauth2/{}", one["id"]), None);
            }
        }
        for one in new.api("GET", "user/orgs?limit=50", None).as_array().into_iter().flatten() {
            if let Some(name) = one["username"].as_str().filter(|name| is_left(name)) {
                new.api("DELETE", &format!("orgs/{name}"), None);
            }
        }
        new.api("POST", "orgs", Some(json!({"username": new.organization})));
        let application = json!({
            "name": new.organization, "confidential_client": true, "redirect_uris": [format!("{PUBLIC}/login/callback")],
        });
        new.known = new.api("POST", "user/applications/oauth2", Some(application));
        assert!(new.known["client_secret"].is_string(), "{:#}", new.known);
        new
    }

    fn api(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (token, body) = (format!("token {}", self.token), body.map(|body| body.to_string()).unwrap_or_default());
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let (_, text) = support::request(method, &format!("{}/api/v1/{path}", self.forge.url), &headers, &body);
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Logs in at the forge and lets hks know who it is: where the browser is sent back to.
    fn grant(&self, browser: &Browser, address: &str) -> String {
        let password = format!("password={}", std::fs::read_to_string(&self.forge.password).unwrap().trim());
        let name = format!("user_name={}", self.forge.user);
        let login =
            browser.ask(&format!("{}/user/login", self.forge.url), &["-d", &name, "--data-urlencode", &password]);
        assert_eq!(login.code, 303, "{}", login.text);
        let asked = browser.ask(address, &[]);
        let mut args = vec!["--data-urlencode".to_owned(), "granted=true".to_owned()];
        for field in asked.text.split("<input type=\"hidden\"").skip(1) {
            let word = |key: &str| {
                let rest = field.split_once(&format!("{key}=\"")).map(|(_, rest)| rest).unwrap_or_default();
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            args.extend(["--data-urlencode".to_owned(), format!("{}={}", word("name"), word("value"))]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let granted = browser.ask(&format!("{}/login/oauth/grant", self.forge.url), &args);
        assert!(
            granted.location.starts_with(&format!("{PUBLIC}/login/callback?")),
            "{} {}",
            granted.location,
            granted.text
        );
        granted.location
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.api("DELETE", &format!("user/applications/oauth2/{}", self.known["id"]), None);
        self.api("DELETE", &format!("orgs/{}", self.organization), None);
    }
}

/// S11: a team logs in, sees its own Stacks, and acts where its group may; nobody else does.
#[test]
fn a_team_logs_in_and_acts() {
    let Some(forge) = &kit().forge else { return };
    let application = Application::new(forge);
    let mut world = World::new("login");
    world.environment = vec![("HKS_TEST_SECRET", application.known["client_secret"].as_str().unwrap().into())];
    world.settings = format!(
        "publicUrl: {PUBLIC}\naccess:\n  oidc:\n    issuer: {}\n    clientId: {}\n    clientSecret: {{env: HKS_TEST_SECRET}}\n    \
         groups: {{{}: {{sources: [main], act: true}}}}\n",
        forge.url,
        application.known["client_id"].as_str().unwrap(),
        application.organization,
    );
    let sha = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    let daemon = |path: &str| format!("http://{}{path}", world.address);
    let browser = Browser { jar: world.folder.path().join("jar") };

    // nobody sees anything before
    let page = browser.ask(&daemon("/stacks/one"), &[]);
    assert_eq!((page.code, page.location.as_str()), (303, daemon("/login?to=%2Fstacks%2Fone").as_str()));
    assert_eq!(support::request("GET", &daemon("/api/v1/status"), &[], "").0, 401);
    let begun = browser.ask(&page.location, &[]);
    assert!(begun.location.starts_with(&format!("{}/login/oauth/authorize?", forge.url)), "{}", begun.location);
    let back = application.grant(&browser, &begun.location).replacen(PUBLIC, &daemon(""), 1);

    // the code is of no use in another browser, or with another state
    let other = Browser { jar: world.folder.path().join("other") };
    assert_eq!(other.ask(&back, &[]).code, 403);
    let forged = back.replacen("state=", "state=x", 1);
    assert!(forged != back && browser.ask(&forged, &[]).code == 403);
    let done = browser.ask(&back, &[]);
    assert_eq!((done.code, done.location.as_str()), (303, daemon("/stacks/one").as_str()), "{}", done.text);
    let user = format!("user:{}", forge.user);
    let found = support::until(120, || {
        let page = browser.ask(&daemon("/stacks/one"), &[]);
        page.code == 200 && page.text.contains(&sha[..7]) && page.text.contains("settled") && page.text.contains(&user)
    });
    assert!(found, "{}", world.log());
    assert_eq!(other.ask(&daemon("/stacks/one"), &[]).code, 303);

    // its group may act, from a page of the daemon
    let form = ["-d", "act=suspend&reason=moving", "-H", "Sec-Fetch-Site: same-origin"];
    assert_eq!(
        browser
            .ask(&daemon("/stacks/one?source=main"), &["-d", "act=suspend", "-H", "Sec-Fetch-Site: cross-site"])
            .code,
        403
    );
    assert_eq!(browser.ask(&daemon("/stacks/one?source=main"), &form).code, 303);
    let suspended = support::until(30, || {
        let answer = browser.ask(&daemon("/api/v1/stacks/one"), &[]);
        let view: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        view["state"] == "suspended" && view["suspended"]["by"] == user.as_str()
    });
    assert!(suspended, "{}", world.log());

    assert_eq!(browser.ask(&daemon("/logout"), &["-X", "POST"]).code, 200);
    assert_eq!(browser.ask(&daemon("/stacks/one"), &[]).code, 303);
    let log = world.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audit: Vec<_> =
        lines.iter().filter(|line| line["who"] == user.as_str()).map(|line| line["audit"].clone()).collect();
    assert_eq!(audit, ["login", "suspend", "wish", "suspend"].map(Value::from), "{log}");
}
