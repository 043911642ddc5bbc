//! Geo: distances over the earth, and its surface projected onto a plane around a middle.
//!
//! The earth is taken as a sphere, which is accurate to half a percent. In the projection (equirectangular, at the mean
//! latitude), points of a city or a country keep their distances; over continents they do not, and delays are computed
//! from the distance over the sphere instead.

/// Returns the kilometres between two points, each given by latitude and longitude in degrees.
pub fn great_circle([lat, lon]: [f64; 2], [to_lat, to_lon]: [f64; 2]) -> f64 {
    let (lat, to_lat) = (lat.to_radians(), to_lat.to_radians());
    let across = ((to_lon - lon).to_radians() / 2.0).sin();
    let along = ((to_lat - lat) / 2.0).sin();
    let haversine = along * along + lat.cos() * to_lat.cos() * across * across;
    2.0 * RADIUS_KM * haversine.sqrt().min(1.0).asin()
}

/// Returns points, given by latitude and longitude in degrees, in metres east and north of their south-western corner.
pub fn flat(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    // The mean of longitudes is computed from their directions: a network may extend over the date line.
    let sums = points.iter().fold([0.0, 0.0, 0.0], |[lat, east, north], [next, lon]| {
        let lon = lon.to_radians();
        [lat + next, east + lon.sin(), north + lon.cos()]
    });
    let (latitude, longitude) = (sums[0] / points.len().max(1) as f64, sums[1].atan2(sums[2]).to_degrees());
    let metres = RADIUS_KM * 1_000.0;
    let laid = points.iter().map(|[lat, lon]| {
        let east = (lon - longitude + 540.0).rem_euclid(360.0) - 180.0;
        [metres * latitude.to_radians().cos() * east.to_radians(), metres * (lat - latitude).to_radians()]
    });
    let laid: Vec<[f64; 2]> = laid.collect();
    let corner =
        laid.iter().fold([f64::INFINITY; 2], |corner, point| [corner[0].min(point[0]), corner[1].min(point[1])]);
    laid.iter().map(|point| [(point[0] - corner[0]).round(), (point[1] - corner[1]).round()]).collect()
}

/// The earth's mean radius.
const RADIUS_KM: f64 = 6_371.009;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        let (berlin, vienna) = ([52.52, 13.405], [48.2082, 16.3738]);
        let far = great_circle(berlin, vienna);
        assert!((far - 523.0).abs() < 5.0, "{far}");
        assert_eq!(great_circle(berlin, berlin), 0.0);
        let half = great_circle([0.0, 0.0], [0.0, 180.0]);
        assert!((half - 20_015.0).abs() < 10.0, "{half}");
        let over_the_date_line = great_circle([0.0, 179.0], [0.0, -179.0]);
        assert!((over_the_date_line - 222.4).abs() < 0.5, "{over_the_date_line}");
    }

    #[test]
    fn a_region_laid_flat_keeps_its_distances() {
        for (one, other) in [([52.52, 13.405], [52.4, 13.05]), ([0.1, 179.9], [0.0, -179.9])] {
            let laid = flat(&[one, other]);
            let metres = (laid[0][0] - laid[1][0]).hypot(laid[0][1] - laid[1][1]);
            let truth = great_circle(one, other) * 1_000.0;
            assert!((metres / truth - 1.0).abs() < 0.005, "{metres} {truth}");
            assert!(laid.iter().flatten().all(|metres| *metres >= 0.0));
        }
        assert_eq!(flat(&[]), Vec::<[f64; 2]>::new());
    }
}
