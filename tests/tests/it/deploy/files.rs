//! What is written in `deploy/`: schemas, settings, and what one file says about another.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{kettle_command, skip_visibly, workspace};

/// The oldest Kubernetes that is still supported, and the newest of the schemas.
const KUBERNETES: [&str; 2] = ["1.34.0", "1.37.0"];
const COMPOSE: [&str; 2] = ["compose/one.yaml", "compose/cluster.yaml"];

#[test]
fn kubernetes_manifests_are_valid() {
    let Some(validate) = tool("kubernetes-validate") else { return };
    for version in KUBERNETES {
        let manifests = manifests();
        let out = Command::new(&validate).args(["--strict", "-k", version]).args(&manifests).output().unwrap();
        succeeded(&out, version);
        assert_eq!(text(&out).matches(" passed for resource ").count(), manifests.len(), "{}", text(&out));
    }
}

#[test]
fn compose_files_are_valid() {
    let Some(validate) = tool("check-jsonschema") else { return };
    let out = Command::new(validate)
        .args(["--builtin-schema", "vendor.compose-spec"])
        .args(COMPOSE.map(|file| deploy().join(file)))
        .output()
        .unwrap();
    succeeded(&out, "compose");
}

#[test]
fn every_setting_is_one_that_kettle_knows() {
    let mut environments = BTreeMap::from([("Containerfile".to_owned(), of_image())]);
    for file in COMPOSE {
        let Some(compose) = yaml(file) else { return };
        for (name, service) in compose[0]["services"].as_object().unwrap() {
            if service["image"] == "kettle" {
                environments.insert(format!("{file}: {name}"), of_service(service));
            }
        }
    }
    let (Some(deployment), Some(map)) = (yaml("kubernetes/deployment.yaml"), yaml("kubernetes/configmap.yaml")) else {
        return;
    };
    environments.insert("kubernetes".to_owned(), of_pod(&deployment[0], &map[0]));
    assert_eq!(environments.len(), 6, "{:?}", environments.keys());
    for (name, environment) in environments {
        let settings = environment.iter().filter(|(key, _)| *key != "POD_IP");
        let out = kettle_command().arg("config").envs(settings.clone()).output().unwrap();
        succeeded(&out, &name);
        let warnings = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!warnings.contains("warning"), "{name}:\n{warnings}");
        let shown = String::from_utf8_lossy(&out.stdout).into_owned();
        let from_environment = shown.lines().filter(|line| line.contains("environment")).count();
        assert_eq!(from_environment, settings.count(), "{name}:\n{shown}");
    }
}

#[test]
fn no_password_is_written_down() {
    for file in COMPOSE {
        let Some(compose) = yaml(file) else { return };
        for (name, service) in compose[0]["services"].as_object().unwrap() {
            let environment = service["environment"].as_object().into_iter().flatten();
            for (key, value) in environment.filter(|(key, _)| is_secret(key)) {
                let value = value.as_str().unwrap();
                assert!(value.starts_with("${") && value.contains(":?"), "{file}: {name}: {key}");
            }
        }
    }
    let (Some(deployment), Some(map)) = (yaml("kubernetes/deployment.yaml"), yaml("kubernetes/configmap.yaml")) else {
        return;
    };
    for variable in container(&deployment[0])["env"].as_array().unwrap() {
        if is_secret(variable["name"].as_str().unwrap()) {
            assert!(variable["valueFrom"]["secretKeyRef"].is_object(), "{variable}");
        }
    }
    assert!(!map[0]["data"].as_object().unwrap().keys().any(|key| is_secret(key)), "{}", map[0]);
}

#[test]
fn the_manifests_fit_each_other() {
    let all =
        ["kustomization", "deployment", "configmap", "service", "ingress", "disruption", "autoscaling", "artifacts"];
    let mut found = Vec::new();
    for name in all {
        let Some(mut documents) = yaml(&format!("kubernetes/{name}.yaml")) else { return };
        assert_eq!(documents.len(), 1, "{name}");
        found.push(documents.remove(0));
    }
    let [kustomization, deployment, map, service, ingress, disruption, autoscaling, artifacts] =
        found.try_into().unwrap();

    let mut listed: Vec<_> =
        kustomization["resources"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    listed.sort_unstable();
    let there: Vec<_> = manifests().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(listed, there);

    let pod = &deployment["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &disruption["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let container = container(&deployment);
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], map["metadata"]["name"]);
    let claim = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "artifacts").unwrap();
    assert_eq!(claim["persistentVolumeClaim"]["claimName"], artifacts["metadata"]["name"]);
    assert_eq!(artifacts["spec"]["accessModes"][0], "ReadWriteMany");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], service["spec"]["ports"][0]["name"]);
    let host = ingress["spec"]["rules"][0]["host"].as_str().unwrap();
    assert_eq!(map["data"]["KETTLE_PUBLICURL"], format!("https://{host}"));
    assert_eq!(autoscaling["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);

    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/health/ready/http");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/health/live");
    let seconds = |key: &str| map["data"][key].as_str().unwrap().trim_end_matches('s').parse::<i64>().unwrap();
    let gateways = 15;
    let needed = seconds("KETTLE_SHUTDOWNDRAIN") + seconds("KETTLE_SHUTDOWNGRACE") + gateways;
    assert!(pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap() >= needed, "{needed} s");
    assert_eq!(pod["spec"]["enableServiceLinks"], false, "the Service's name makes variables that look like settings");
}

#[test]
fn haproxy_names_the_services_of_the_cluster() {
    let Some(compose) = yaml("compose/cluster.yaml") else { return };
    let services = compose[0]["services"].as_object().unwrap();
    let nodes = services.iter().filter(|(_, service)| service["image"] == "kettle");
    let config = read("haproxy/haproxy.cfg");
    let servers: Vec<_> = config.lines().filter_map(|line| line.trim().strip_prefix("server ")).collect();
    let expected: Vec<_> = nodes.map(|(name, _)| format!("{name} {name}:8080")).collect();
    assert_eq!(servers, expected);
    let proxies = services["kettle-1"]["environment"]["KETTLE_TRUSTEDPROXIES"].clone();
    assert_eq!(compose[0]["networks"]["inside"]["ipam"]["config"][0]["subnet"], proxies);
}

fn deploy() -> PathBuf {
    workspace().join("deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

/// All that go to Kubernetes, sorted.
fn manifests() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deploy().join("kubernetes")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap() != "kustomization.yaml");
    files.sort();
    files
}

fn tool(program: &str) -> Option<PathBuf> {
    let path = workspace().join("target/tools/manifests/bin").join(program);
    if !path.exists() {
        skip_visibly("files in deploy/", &format!("{} is absent (scripts/install-test-tools)", path.display()));
        return None;
    }
    Some(path)
}

/// The documents of a file, read by the YAML that the validators have.
fn yaml(file: &str) -> Option<Vec<Value>> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let out = Command::new(tool("python")?).args(["-c", script]).arg(deploy().join(file)).output().unwrap();
    succeeded(&out, file);
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

fn is_secret(key: &str) -> bool {
    key.ends_with("PASSWORD") || key.ends_with("PASS")
}

type Environment = BTreeMap<String, String>;

fn of_image() -> Environment {
    let text = read("Containerfile").replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("ENV ")).expect("an ENV line");
    let pairs = line.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn of_service(service: &Value) -> Environment {
    let pairs = service["environment"].as_object().unwrap().iter();
    let given = |value: &str| match value.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')) {
        None => value.to_owned(),
        Some(inner) => inner.split_once(":-").map_or("{noop}x", |(_, default)| default).to_owned(),
    };
    pairs.map(|(key, value)| (key.clone(), given(value.as_str().unwrap()))).collect()
}

fn of_pod(deployment: &Value, map: &Value) -> Environment {
    let data = map["data"].as_object().unwrap().iter();
    let mut all: Environment = data.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
    for variable in container(deployment)["env"].as_array().unwrap() {
        let value = variable["value"].as_str().unwrap_or("{noop}x").replace("$(POD_IP)", "10.0.0.1");
        all.insert(variable["name"].as_str().unwrap().to_owned(), value);
    }
    all
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn succeeded(out: &Output, what: impl AsRef<Path>) {
    assert!(out.status.success(), "{}:\n{}", what.as_ref().display(), text(out));
}
