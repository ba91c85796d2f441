//! A stranger: a crate outside the repository that depends on `wakeful` by its git address.
//!
//! What it gets is the working tree as it is, committed into a throw-away repository. It is built
//! with nothing but `cargo build --release --target …`: no settings of this repository, of the
//! cargo that runs this tool, or of a folder above. Crates have the versions of our `Cargo.lock`,
//! so that they come from the user's download cache.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{self, TARGET};

const MAIN: &str = r#"#![no_std]
#![no_main]

#[wakeful::main]
async fn main() {
    wakeful::println!("stranger here");
}
"#;

/// The crate, built. Its folder goes with it.
pub(crate) struct Stranger {
    folder: PathBuf,
}

impl Stranger {
    /// Makes and builds the crate.
    pub(crate) fn build() -> Result<Self> {
        // Not in target/: cargo reads .cargo/config.toml in all folders above.
        let folder = std::env::temp_dir().join(format!("wakeful-stranger-{}", std::process::id()));
        let stranger = Self { folder };
        stranger.snapshot()?;
        stranger.write_crate()?;
        stranger.compile()?;
        Ok(stranger)
    }

    /// The image.
    pub(crate) fn elf(&self) -> PathBuf {
        self.crate_folder().join("target").join(TARGET).join("release/stranger")
    }

    fn crate_folder(&self) -> PathBuf {
        self.folder.join("stranger")
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("wakeful")
    }

    /// Commits the working tree, without what git ignores, into a repository of its own.
    fn snapshot(&self) -> Result<()> {
        let root = workspace::root();
        let git = |folder: &Path, args: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(folder).args([
                "-c",
                "user.name=Wakeful",
                "-c",
                "user.email=wakeful@localhost",
            ]);
            git.args(["-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null"]).args(args);
            succeed(&mut git)
        };
        let listed = git(root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"])?;
        let repository = self.repository();
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (root.join(name), repository.join(name));
            if from.is_file() {
                std::fs::create_dir_all(to.parent().expect("it lies in the repository"))?;
                std::fs::copy(&from, &to)
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
        git(&repository, &["add", "--all"])?;
        git(&repository, &["commit", "--quiet", "--message=snapshot"])?;
        Ok(())
    }

    fn write_crate(&self) -> Result<()> {
        let folder = self.crate_folder();
        std::fs::create_dir_all(folder.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"stranger\"\nedition = \"2024\"\n\n\
             [dependencies]\nwakeful = {{ git = \"file://{}\" }}\n",
            self.repository().display()
        );
        std::fs::write(folder.join("Cargo.toml"), manifest)?;
        std::fs::write(folder.join("src/main.rs"), MAIN)?;
        std::fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))
            .context("the workspace has no Cargo.lock: build something in it first")?;
        Ok(())
    }

    fn compile(&self) -> Result<()> {
        // Checkouts of the snapshot stay out of the user's cache, but downloads come from there.
        let home = self.folder.join("cargo-home");
        std::fs::create_dir_all(&home)?;
        for shared in ["registry", "config.toml"] {
            let original = cargo_home()?.join(shared);
            if original.exists() {
                std::os::unix::fs::symlink(original, home.join(shared))?;
            }
        }
        let mut cargo = workspace::cargo();
        for (key, _) in std::env::vars_os() {
            if is_cargos(&key) {
                cargo.env_remove(key);
            }
        }
        cargo.current_dir(self.crate_folder()).env("CARGO_HOME", home);
        cargo.args(["build", "--release", "--target", TARGET]).args(workspace::build_std());
        succeed(&mut cargo)?;
        Ok(())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // A leftover in the temporary folder does no harm.
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether the variable says something to cargo, or something about the cargo that runs this tool.
fn is_cargos(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    key.starts_with("CARGO") || key.ends_with("RUSTFLAGS")
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(std::env::home_dir().context("the user has no home folder")?.join(".cargo"))
}

/// Runs the command and returns what it prints; its error message if it fails.
fn succeed(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        bail!("{line} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
