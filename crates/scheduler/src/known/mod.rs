//! What the scheduler remembers, each as small as its decisions need it: of pods and nodes in [`view`], who is where in
//! [`cluster`], of everything else in [`world`].

pub mod capacity;
pub mod cluster;
pub mod csi;
pub mod images;
pub mod services;
pub mod traits;
pub mod view;
pub mod volumes;
pub mod world;
