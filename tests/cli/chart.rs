//! The chart of examples/helm is the DaemonSet of examples/kubernetes. Its template names values and nothing else, so that it can
//! be rendered here without Helm; `tests/release/run` has Helm render it.

use std::fs;

fn example(name: &str) -> String {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn with_its_default_values_the_chart_is_the_daemon_set() {
    let mut rendered = example("helm/fan/templates/daemonset.yaml").replace("{{ .Release.Namespace }}", "kube-system");
    let values = example("helm/fan/values.yaml");
    for line in values.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        let place = format!("{{{{ .Values.{name} | quote }}}}");
        assert_eq!(rendered.matches(&place).count(), 1, "{place}");
        rendered = rendered.replace(&place, value);
    }
    let manifest = |text: &str| text.split_once("apiVersion: ").expect("a manifest").1.to_owned();
    assert_eq!(manifest(&rendered), manifest(&example("kubernetes/fan.yaml")));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = example("helm/fan/Chart.yaml");
    for line in [format!("version: {version}"), format!("appVersion: \"{version}\"")] {
        assert!(chart.lines().any(|found| found == line), "{line}");
    }
    assert!(example("helm/fan/values.yaml").lines().any(|line| line == format!("image: fanctl:{version}")));
}
