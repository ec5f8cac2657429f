# Kappa, weighted kappa and ICC by psych; Krippendorff's alpha and Gwet's AC1 from their definitions, written out.
# Run in this folder: Rscript agreement.R
suppressPackageStartupMessages({library(psych); library(jsonlite)})
d <- read.csv("ratings.csv")
num <- as.matrix(d[, c("A", "B", "C")]); cat <- as.matrix(d[, c("catA", "catB", "catC")])
pairs <- combn(3, 2)
kappa <- apply(pairs, 2, function(p) cohen.kappa(cat[, p])$kappa)
weighted <- apply(pairs, 2, function(p) {
  w <- outer(1:5, 1:5, function(i, j) (i - j)^2)
  cohen.kappa(table(factor(num[, p[1]], 1:5), factor(num[, p[2]], 1:5)), w = 1 - w / 16)$weighted.kappa
})
icc <- ICC(num, lmer = FALSE)$results
alpha <- function(x, delta) {           # Krippendorff (2011): pairs within units against pairs of all values
  n <- length(x); m <- ncol(x)
  do <- sum(sapply(seq_len(nrow(x)), function(u) sum(outer(x[u, ], x[u, ], delta)) / (m - 1))) / n
  de <- sum(outer(c(x), c(x), delta)) / (n * (n - 1))
  1 - do / de
}
pa <- mean(apply(cat, 1, function(r) { k <- table(factor(r, 0:2)); sum(k * (k - 1)) / 6 }))
share <- colMeans(t(apply(cat, 1, function(r) table(factor(r, 0:2)))) / 3)
pe <- sum(share * (1 - share)) / 2
out <- list(
  kappa = mean(kappa), weighted_kappa = mean(weighted),
  icc21 = icc$ICC[icc$type == "ICC2"], icc2k = icc$ICC[icc$type == "ICC2k"],
  alpha_interval = alpha(num, function(a, b) (a - b)^2), alpha_nominal = alpha(cat, function(a, b) (a != b) + 0),
  ac1 = (pa - pe) / (1 - pe), agreement = pa,
  versions = list(R = R.version.string, psych = as.character(packageVersion("psych")))
)
write_json(out, "agreement.json", auto_unbox = TRUE, digits = 15, pretty = TRUE)
