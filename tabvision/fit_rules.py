"""tmp"""
import math
def batch_size_for(n): return int(min(2048,max(32,2**round(math.log2(4*math.sqrt(n))))))
def max_epochs_for(n): return max(2,round(800*n**-.3))
