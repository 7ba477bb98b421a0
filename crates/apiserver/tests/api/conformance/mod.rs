//! What upstream's conformance suites ask of an API server, kind by kind and area by area.
mod apply;
mod cases;
mod chunks;
mod custom;
mod discovery;
mod kinds;
mod networks;
mod nodes;
mod objects;
mod operations;
mod pods;
mod proxies;
mod strict;
mod watches;
