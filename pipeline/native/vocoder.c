/* The inner loops of slvr.pipeline.augmentations.vocoder, a row's spectra read once for all.

   Letters: L frames of the source, K frames of the result, F bins. Complex numbers are pairs of
   floats. Bins go in blocks whose phasors stay in the first-level cache. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 256
#define FINE 32
#define TINY 1e-18f
#define TINY_POWER 1e-36f

typedef struct {
    float re[BLOCK], im[BLOCK], magnitude[BLOCK];
} Frame;

/* m bins as phasors of length 1 and their magnitudes; silence has phase 0. */
static void load(Frame *to, const float *restrict x, int m) {
    for (int f = 0; f < m; f++) {
        float re = x[2 * f] + TINY, im = x[2 * f + 1];
        float power = re * re + im * im;
        power = power < TINY_POWER ? TINY_POWER : power;
        float root = sqrtf(power), reciprocal = 1.0f / root;
        to->re[f] = re * reciprocal;
        to->im[f] = im * reciprocal;
        to->magnitude[f] = root;
    }
}

/* Two frames of the source that follow each other, and which. */
typedef struct {
    Frame frames[2];
    int64_t first;
    int low; /* which of the two is the first */
} Pair;

static void move(Pair *pair, const float *x, int64_t first, int64_t n_bins, int m) {
    if (pair->first == first) return;
    if (pair->first >= 0 && first == pair->first + 1) {
        pair->low ^= 1;
        load(&pair->frames[pair->low ^ 1], x + 2 * (first + 1) * n_bins, m);
    } else if (pair->first >= 0 && first == pair->first - 1) {
        pair->low ^= 1;
        load(&pair->frames[pair->low], x + 2 * first * n_bins, m);
    } else {
        load(&pair->frames[pair->low], x + 2 * first * n_bins, m);
        load(&pair->frames[pair->low ^ 1], x + 2 * (first + 1) * n_bins, m);
    }
    pair->first = first;
}

/* Phasors go on by what a pair of frames advances, or back by it (sign -1). */
static void turn(float *restrict re, float *restrict im, const Pair *pair, float sign, int m) {
    const Frame *u = &pair->frames[pair->low], *v = &pair->frames[pair->low ^ 1];
    for (int f = 0; f < m; f++) {
        float by_re = v->re[f] * u->re[f] + v->im[f] * u->im[f];
        float by_im = sign * (v->im[f] * u->re[f] - v->re[f] * u->im[f]);
        float moved = re[f] * by_re - im[f] * by_im;
        im[f] = im[f] * by_re + re[f] * by_im;
        re[f] = moved;
    }
}

static void store(float *restrict y, const float *re, const float *im, const Pair *pair,
                  float between, int m) {
    const float *low = pair->frames[pair->low].magnitude;
    const float *high = pair->frames[pair->low ^ 1].magnitude;
    for (int f = 0; f < m; f++) {
        float magnitude = low[f] + between * (high[f] - low[f]);
        y[2 * f] = re[f] * magnitude;
        y[2 * f + 1] = im[f] * magnitude;
    }
}

/* (K,) sums of the squared magnitudes between frames; the first and the last bin count half. */
void frame_powers(const float *x, const int64_t *left, const float *between, float *power,
                  int64_t n_frames, int64_t n_bins) {
    memset(power, 0, sizeof(float) * n_frames);
    for (int64_t begin = 0; begin < n_bins; begin += BLOCK) {
        int m = n_bins - begin < BLOCK ? (int)(n_bins - begin) : BLOCK;
        Pair pair = {.first = -1, .low = 0};
        for (int64_t k = 0; k < n_frames; k++) {
            move(&pair, x + 2 * begin, left[k], n_bins, m);
            const float *low = pair.frames[pair.low].magnitude;
            const float *high = pair.frames[pair.low ^ 1].magnitude;
            float sums[16] = {0}, square[BLOCK];
            for (int f = 0; f < m; f++) {
                float magnitude = low[f] + between[k] * (high[f] - low[f]);
                square[f] = magnitude * magnitude;
            }
            if (begin == 0) square[0] *= 0.5f;
            if (begin + m == n_bins) square[m - 1] *= 0.5f;
            for (int f = m; f < ((m + 15) & ~15); f++) square[f] = 0;
            for (int f = 0; f < m; f += 16)
                for (int j = 0; j < 16; j++) sums[j] += square[f + j];
            for (int j = 0; j < 16; j++) power[k] += sums[j];
        }
    }
}

/* (K, F) frames: those from begin[s] to begin[s + 1] - 1 take their phases from frame source[s]
   of the source, turned by `advance[s]` radians a bin, at frame anchor[s], and count from there. */
void vocode(const float *x, const int64_t *left, const float *between, const int64_t *begin,
            const int64_t *anchor, const int64_t *source, const double *advance, float *y,
            int64_t n_segments, int64_t n_bins) {
    float re[BLOCK], im[BLOCK], from_re[BLOCK], from_im[BLOCK];
    Frame at;
    for (int64_t low = 0; low < n_bins; low += BLOCK) {
        int m = n_bins - low < BLOCK ? (int)(n_bins - low) : BLOCK;
        const float *part = x + 2 * low;
        for (int64_t s = 0; s < n_segments; s++) {
            float fine_re[FINE], fine_im[FINE];
            for (int j = 0; j < FINE; j++) {
                fine_re[j] = (float)cos(j * advance[s]);
                fine_im[j] = (float)sin(j * advance[s]);
            }
            load(&at, part + 2 * source[s] * n_bins, m);
            for (int f0 = 0; f0 < m; f0 += FINE) {
                float c = (float)cos((low + f0) * advance[s]);
                float d = (float)sin((low + f0) * advance[s]);
                for (int f = f0; f < f0 + FINE && f < m; f++) {
                    int j = f - f0;
                    float by_re = c * fine_re[j] - d * fine_im[j];
                    float by_im = c * fine_im[j] + d * fine_re[j];
                    from_re[f] = at.re[f] * by_re - at.im[f] * by_im;
                    from_im[f] = at.re[f] * by_im + at.im[f] * by_re;
                }
            }
            int64_t k0 = begin[s], k1 = begin[s + 1], a = anchor[s];
            Pair pair = {.first = -1, .low = 0};
            memcpy(re, from_re, sizeof re);
            memcpy(im, from_im, sizeof im);
            for (int64_t k = a; k < k1; k++) {
                if (k > a) turn(re, im, &pair, 1, m);
                move(&pair, part, left[k], n_bins, m);
                if (k >= k0) store(y + 2 * (k * n_bins + low), re, im, &pair, between[k], m);
            }
            pair.first = -1;
            memcpy(re, from_re, sizeof re);
            memcpy(im, from_im, sizeof im);
            for (int64_t k = a - 1; k >= k0; k--) {
                move(&pair, part, left[k], n_bins, m);
                turn(re, im, &pair, -1, m);
                if (k < k1) store(y + 2 * (k * n_bins + low), re, im, &pair, between[k], m);
            }
        }
    }
}
