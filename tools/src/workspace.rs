//! The repository that this tool belongs to: where it is, and its packages built by cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The target of every image.
pub(crate) const TARGET: &str = "riscv64gc-unknown-none-elf";

/// How cargo is asked to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Profile {
    /// `cargo build`.
    Dev,
    /// `cargo build --release`.
    Release,
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package of the tools lies one below the workspace")
}

/// `target/wakeful`, where the tools keep what they make; created if missing.
pub(crate) fn work_folder() -> Result<PathBuf> {
    let folder = root().join("target/wakeful");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// A cargo command in the workspace, by the same cargo that runs this tool.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The names of the workspace's packages under `examples/`: what `run` can run.
pub(crate) fn apps() -> Result<Vec<String>> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed in {}: its message is above", root().display());
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` printed no JSON")?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_app = |package: &&Value| {
        let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent();
        folder.and_then(Path::parent).is_some_and(|parent| parent.ends_with("examples"))
    };
    Ok(packages
        .iter()
        .filter(is_app)
        .filter_map(|package| Some(package["name"].as_str()?.to_owned()))
        .collect())
}

/// Builds the package for the machine, with cargo's progress on stderr, and returns its ELF file.
pub(crate) fn build(package: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = build_command(package);
    if profile == Profile::Release {
        command.arg("--release");
    }
    if package == "testsuite" {
        // Its cases look at backtraces.
        command.arg("--config");
        command.arg(format!("target.{TARGET}.rustflags=['-Cforce-frame-pointers=yes']"));
    }
    built(command, package)
}

/// Builds a release as projects outside of this repository do: without the flags of its
/// `.cargo/config.toml`. Instead, the compiler may use these features of the processor.
pub(crate) fn build_outside(package: &str, features: &[&str]) -> Result<PathBuf> {
    let mut command = build_command(package);
    let enabled: Vec<String> = features.iter().map(|feature| format!("+{feature}")).collect();
    let flags = match enabled.as_slice() {
        [] => String::new(),
        enabled => format!("-Ctarget-feature={}", enabled.join(",")),
    };
    // Cargo takes flags from one place only, and even if it is empty this is the first.
    command.arg("--release").env("CARGO_ENCODED_RUSTFLAGS", flags);
    // Files of builds with other flags have the same names.
    command
        .arg("--target-dir")
        .arg(work_folder()?.join(format!("build-rv64gc{}", features.concat())));
    built(command, package)
}

fn build_command(package: &str) -> Command {
    let mut command = cargo();
    command.args([
        "build",
        "--package",
        package,
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    command.args(build_std());
    command
}

/// The executable that the command builds.
fn built(mut command: Command, package: &str) -> Result<PathBuf> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo build --package {package}` failed: cargo's message is above");
    }
    executable(&output.stdout)
        .with_context(|| format!("the package {package} has no binary to boot"))
}

/// An argument for cargo where `tools/setup.sh` found no compiled core and alloc for the target.
pub(crate) fn build_std() -> Option<String> {
    Some(format!("-Zbuild-std={}", std::env::var("WAKEFUL_BUILD_STD").ok()?))
}

/// The last executable that cargo reports in its JSON messages.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    serde_json::Deserializer::from_slice(messages)
        .into_iter::<Value>()
        .map_while(Result::ok)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_other_messages() {
        let messages = br#"
            {"reason":"compiler-artifact","executable":null}
            {"reason":"compiler-artifact","executable":"/t/hello"}
            {"reason":"build-finished","success":true}
        "#;
        assert_eq!(executable(messages), Some("/t/hello".into()));
        assert_eq!(executable(b""), None);
    }
}
