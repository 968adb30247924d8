// E, Σ and influence of the pairs of a tile (spec §2, §14).
//
// Where all keys of a tile come before all its queries, or after, exponentials are taken of queries
// and of keys, not of pairs: E = e f and Σ = a + e² g by way of a reference time in between.

enum { LATER = -1, BESIDE = 0, EARLIER = 1 };

struct Pair {
    real decayed, sigma, influence;  // or its logarithm, where weights take one
};

// Return V/σ² of a lag.
__device__ inline real unit_variance(real decay, real lag) {
    const real x = 2 * decay * lag;
    return x > (real)1e-30 ? -expm1(-x) / (2 * decay) : lag;
}

// Return where the keys of a tile are in time; later ones have no level in one direction.
__device__ inline int order_of(const Block &block, const double *bounds) {
    if (bounds[1] < block.least) return EARLIER;
    return DIRECTIONS != 1 && bounds[0] > block.greatest ? LATER : BESIDE;
}

// Return which direction the influence of a tile has.
__device__ inline int side_of(int order) { return DIRECTIONS > 1 && order == LATER; }

// Return what a logarithm of influence enters weights as.
__device__ inline real influence_of(double log_influence) {
    return POWER >= 0 ? exp((real)log_influence) : (real)log_influence;
}

// Write the factors of a query of a tile.
__device__ inline void factor_query(const Block &block, const double *bounds, int order, int i) {
    Shared &shared = *block.shared;
    const Model &model = block.model;
    const real lag = (real)fabs(shared.query_time[i] - bounds[order == LATER ? 0 : 1]);
    shared.e[i] = exp(-model.decay * lag);
    shared.a[i] = shared.noise[i] + model.process * unit_variance(model.decay, lag);
    if (DIRECTIONS > 0) {
        const int side = side_of(order);
        const double reference = bounds[2 + side];
        const double level = shared.query_level[side * BLOCK_Q + i];
        shared.query_influence[i] = influence_of(level - (reference < infinity() ? reference : 0.0));
    }
}

// Write the factors of a key of a tile.
__device__ inline void factor_key(const Block &block, const double *bounds, int order, int j) {
    Shared &shared = *block.shared;
    const Model &model = block.model;
    const real lag = (real)fabs(shared.key_time[j] - bounds[order == LATER ? 0 : 1]);
    const real f = exp(-model.decay * lag);
    shared.f[j] = f;
    shared.g[j] = model.process * unit_variance(model.decay, lag) + f * f * model.measurement;
    if (DIRECTIONS > 0) {
        const int side = side_of(order);
        const double reference = bounds[2 + side];
        const double level = shared.key_level[side * BLOCK_K + j];
        shared.key_influence[j] = influence_of((reference < infinity() ? reference : 0.0) - level);
    }
}

// Return a pair of a tile that has factors.
__device__ inline Pair factored_pair(const Block &block, int i, int j) {
    const Shared &shared = *block.shared;
    const real e = shared.e[i];
    Pair pair = {e * shared.f[j], shared.a[i] + e * e * shared.g[j], 0};
    if (DIRECTIONS > 0) {
        const real own = shared.query_influence[i], other = shared.key_influence[j];
        pair.influence = POWER >= 0 ? own * other : own + other;
    }
    return pair;
}

// Return a pair of a tile that has none.
__device__ inline Pair direct_pair(const Block &block, int i, int j) {
    const Shared &shared = *block.shared;
    const Model &model = block.model;
    const double ahead = shared.query_time[i] - shared.key_time[j];
    const real lag = (real)fabs(ahead), decayed = exp(-model.decay * lag);
    const real driven = model.process * unit_variance(model.decay, lag);
    Pair pair = {decayed, shared.noise[i] + driven + decayed * decayed * model.measurement, 0};
    if (DIRECTIONS > 0) {
        const int side = DIRECTIONS > 1 && ahead < 0.0;
        const double own = shared.query_level[side * BLOCK_Q + i];
        pair.influence = influence_of(own - shared.key_level[side * BLOCK_K + j]);
    }
    return pair;
}
