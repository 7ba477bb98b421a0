//! What upstream's conformance suites ask of an API server, kind by kind and area by area.
mod aggregated;
mod apply;
mod cases;
mod chunks;
mod custom;
mod discovery;
mod hooks;
mod kinds;
mod networks;
mod nodes;
mod objects;
mod operations;
mod pods;
mod proxies;
mod services;
mod strict;
mod watches;
