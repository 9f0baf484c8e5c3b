//! Pictures of the viewer for the README, of the traces of the demonstration.

use anyhow::Result;

use crate::{
    demo::{self, Receiver, Tracing},
    pages,
    programs::{Folder, Shop},
    stage,
};

pub(crate) fn run() -> Result<()> {
    let folder = Folder::new()?;
    let shop = Shop::start(folder.path())?;
    let receiver = Receiver::start()?;
    let agent = Tracing::start(&folder, &shop, &receiver)?;
    demo::drive(&shop)?;
    let trace = agent.slowest()?;
    let into = stage::root().join("docs/pictures");
    std::fs::create_dir_all(&into)?;
    pages::script(&["dev/screenshots.mjs", &agent.page(), &trace, &into.display().to_string()])?;
    agent.end()
}
