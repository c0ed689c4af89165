//! Random steps over the real engine, and whether the simulator would notice if something were wrong.
#![expect(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod sim {
    mod planted;
    mod seeds;
}
