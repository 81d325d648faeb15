//! From a display list to triangles, and from triangles to pixels where there is no GPU.

pub mod canvas;
pub mod mesh;
pub mod palette;
pub mod raster;
